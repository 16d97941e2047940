import { existsSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import { isRepositoryName, isHubName } from '../hub/hub-name.js';
import { KEY_VARIABLE, storedKeys } from '../serve/api-key.js';
import { codeOf } from '../serve/refusal.js';
import { serve } from '../serve/serve.js';
import type { Command, Console } from './command.js';
import { type Arguments, bytes, type Flags, number, onOff, text, UsageError } from './flags.js';
import { interruptible } from './interrupt.js';
import { MODEL_FLAGS, openServable } from './model.js';
import { windowFlags, windowsOf } from './window-flags.js';

const ADDRESS_FLAGS = {
  host: text(
    'ADDRESS',
    'address to listen at; default 127.0.0.1, this machine alone; 0.0.0.0 is all addresses',
  ),
  port: number('PORT', 'default 8080; 0: any free one'),
  name: text('NAME', 'what clients call the model; default: the name of its folder, or OWNER/NAME'),
  'api-key-file': text(
    'FILE',
    `keys that clients must send one of, one a line (Authorization: Bearer KEY);\n${KEY_VARIABLE} holds one too; default: none is asked for`,
  ),
} as const satisfies Flags;

const LIMIT_FLAGS = {
  truncate: onOff('cut texts that are too long, where a request does not say; default: they are refused'),
  ...windowFlags(
    'documents of /rerank that are too long in windows, and take the best score of them',
    'they are refused',
  ),
  'batch-tokens': number(
    'TOKENS',
    'tokens that are encoded together: more give more throughput, and longer waits; default 512 on the CPU, 16384 on a GPU',
  ),
  'max-body': bytes('BYTES', 'the most bytes of a request; default 4MiB'),
  'max-texts': number('N', 'the most texts of a request; default 2048'),
  'max-queue': number('N', 'the most texts that may wait; default 16384'),
  'max-requests': number('N', 'the most requests at a time; default 256'),
} as const satisfies Flags;

/** `gradcache serve` */
export const serveCommand: Command = {
  usage: 'gradcache serve --model FOLDER|NAME [FLAGS]',
  about:
    "Serves a model over HTTP: OpenAI's /v1/embeddings, /embed of text-embeddings-inference, of a cross-encoder /rerank;\n" +
    '/health, /metrics (Prometheus) and /openapi.json. Texts of all requests are encoded together. SIGTERM and Ctrl-C end it\n' +
    'when the requests that have come are answered.',
  sections: {
    Model: { ...MODEL_FLAGS },
    Address: ADDRESS_FLAGS,
    Limits: LIMIT_FLAGS,
  },
  examples: [
    'gradcache serve --model runs/a/model --name fine-tuned',
    'gradcache serve --model BAAI/bge-small-en-v1.5 --host 0.0.0.0 --api-key-file keys.txt',
  ],
  needed: ['model'],
  run: runServe,
};

async function runServe(args: Arguments, { progress, print }: Console): Promise<number> {
  const given = args.required('model', MODEL_FLAGS.model);
  const host = args.text('host') ?? '127.0.0.1';
  const settings = {
    host,
    port: portOf(args),
    name: args.words('name') ?? nameOf(given),
    truncate: args.on('truncate'),
    windows: windowsOf(args),
    batchTokens: args.count('batch-tokens'),
    maxBody: args.count('max-body'),
    maxTexts: args.count('max-texts'),
    maxQueue: args.count('max-queue'),
    maxRequests: args.count('max-requests'),
  };
  const keys = await storedKeys(args.text('api-key-file'));
  await interruptible(
    async (signal) => {
      const model = await openServable(args, { progress, signal, ranks: null });
      try {
        const server = await serve(model, {
          ...settings,
          ...(keys.length > 0 && { apiKey: keys }),
          // The message could hold a text of the request.
          onError: (error) => progress.say(`a request failed: ${codeOf(error)}`),
        });
        if (keys.length === 0 && !isLoopback(host))
          progress.say(
            `Whoever reaches ${host} can use the model: no API key is asked for (--api-key-file, ${KEY_VARIABLE}).`,
          );
        const { url } = server;
        print(
          args.on('json')
            ? JSON.stringify({ url, model: settings.name })
            : `${settings.name} is served at ${url}`,
        );
        await fired(signal);
        await server.close();
      } finally {
        model.dispose();
      }
    },
    progress,
    () => 'No request had been taken.',
    'Ending when the requests that have come are answered. Ctrl-C again ends at once.',
  );
  return 0;
}

/** What a model is called by default. */
function nameOf(model: string): string {
  if (isHubName(model)) return model.replace(/^hf:/, '');
  return isRepositoryName(model) && !existsSync(model) ? model : basename(resolve(model));
}

function portOf(args: Arguments): number {
  const port = args.number('port') ?? 8080;
  if (Number.isInteger(port) && port >= 0 && port <= 65_535) return port;
  throw new UsageError(`--port is ${port}; a whole number from 0 to 65535 is needed.`);
}

const isLoopback = (host: string): boolean => /^(localhost|127\.\d+\.\d+\.\d+|::1)$/.test(host);

function fired(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
