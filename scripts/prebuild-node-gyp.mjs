#!/usr/bin/env node
// Prebuildify runs this in place of node-gyp. CMake has compiled the addon already, so this copies it to where node-gyp would
// have left it.
import { cpSync, mkdirSync } from 'node:fs';
import { basename, join } from 'node:path';

const addon = process.env.GRADCACHE_PREBUILD_ADDON;
mkdirSync(join('build', 'Release'), { recursive: true });
cpSync(addon, join('build', 'Release', basename(addon)));
