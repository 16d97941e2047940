// Starts as many ranks as the first argument says, of the script that the second names. Ends with their exit code.
import { launchRanks } from '../../lib/distributed/launch.js';

const [ranks, program, ...args] = process.argv.slice(2);
process.exitCode = await launchRanks({ ranks: Number(ranks), program: program!, args, patience: 1 });
