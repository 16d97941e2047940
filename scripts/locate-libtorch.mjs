// Prints the folder of the libtorch that gradcache would use; CMakeLists.txt asks it when it is not told one.
import { locateLibtorch } from '../dist/lib/addon/runtime/libtorch.js';

console.log(locateLibtorch().folder);
