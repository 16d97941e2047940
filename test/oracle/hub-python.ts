import { runPython } from './python.js';

/** Asks hub.py, in a process that knows a hub and a cache. */
export const askPython = (
  environment: Readonly<Record<string, string>>,
  ...args: readonly string[]
): Promise<unknown> =>
  runPython('test/oracle/hub.py', args, {
    environment: { HF_HUB_DISABLE_XET: '1', HF_HUB_DISABLE_TELEMETRY: '1', ...environment },
  });
