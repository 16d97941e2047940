/** Calls of `gradcache` one after another in one process: its argument is a list of their arguments, as JSON. */
import { main } from '../../lib/cli/main.js';

const streams = ['stdout', 'stderr'] as const;
const calls = JSON.parse(process.argv[2]!) as string[][];
const ended: unknown[] = [];
for (const args of calls) {
  const said = { stdout: '', stderr: '' };
  const restore = streams.map((name) => {
    const own = process[name].write.bind(process[name]);
    process[name].write = (text: string | Uint8Array) => {
      said[name] += String(text);
      return true;
    };
    return () => (process[name].write = own);
  });
  const code = await main(args);
  for (const each of restore) each();
  ended.push({ code, signal: null, ...said });
}
console.log(JSON.stringify(ended));
