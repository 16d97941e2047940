// Prints the folder of the libtorch that gradcache would use; CMakeLists.txt runs it if TORCH_DIR is not set.
import { locateLibtorch } from '../dist/lib/addon/runtime/libtorch.js';

console.log(locateLibtorch().folder);
