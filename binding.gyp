# For tools that expect node-gyp (`npx node-gyp rebuild`): the compiling is CMake's, through cmake-js. CMake's own files stay
# out of build/, which node-gyp wipes. Not part of the published package: npm would compile at every install.
{
  "targets": [
    {
      "target_name": "gradcache",
      "type": "none",
      "actions": [
        {
          "action_name": "cmake",
          "inputs": ["CMakeLists.txt"],
          "outputs": ["<(PRODUCT_DIR)/gradcache.node"],
          "action": ["node", "scripts/build-addon.mjs", "--out", "build-gyp", "--library", "<(PRODUCT_DIR)"],
        },
      ],
    },
  ],
}
