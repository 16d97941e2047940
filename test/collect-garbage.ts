import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

/** Frees what nobody holds any more. Before a measurement of memory: the collector comes when it wants, and late. */
export function collectGarbage(): void {
  collect();
}
