#!/usr/bin/env node
// What prebuildify runs in place of node-gyp: CMake has compiled the addon already, so it is copied where node-gyp would
// have left it.
import { cpSync, mkdirSync } from 'node:fs';
import { basename, join } from 'node:path';

const addon = process.env.GRADCACHE_PREBUILD_ADDON;
mkdirSync(join('build', 'Release'), { recursive: true });
cpSync(addon, join('build', 'Release', basename(addon)));
