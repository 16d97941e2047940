import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { CrossEncoder, serve, TextEncoder, type ModelServer, type ServeOptions } from '../../lib/index.js';
import { Tokenizer } from '../../lib/tokenizer/tokenizer.js';
import { root, TINY_CONFIG } from '../training/support.js';

export const tokenizer = await Tokenizer.fromFile(join(root, 'examples', 'quickstart', 'tokenizer.json'));

/** A tiny model with random weights and prompts. */
export function tinyModel(device = 'cpu'): TextEncoder {
  const model = TextEncoder.create(TINY_CONFIG, tokenizer, { seed: 3, normalize: false, device });
  model.setPrompt('query', 'question: ');
  model.setPrompt('passage', 'answer: ');
  return model;
}

/** A tiny cross-encoder with random weights. */
export const tinyCrossEncoder = (): CrossEncoder => CrossEncoder.create(TINY_CONFIG, tokenizer, { seed: 3 });

/** What came back. */
export interface Reply {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** The body as JSON. */
  readonly json: unknown;
}

/** A server of a test, and the requests to it. */
export class Client {
  constructor(readonly server: ModelServer) {}

  async request(path: string, init: RequestInit = {}): Promise<Reply> {
    const response = await fetch(this.server.url + path, init);
    const text = await response.text();
    const isJson = response.headers.get('content-type') === 'application/json';
    const json: unknown = isJson && text !== '' ? JSON.parse(text) : undefined;
    return { status: response.status, headers: response.headers, text, json };
  }

  post(path: string, body: unknown, init: RequestInit = {}): Promise<Reply> {
    const headers = { 'Content-Type': 'application/json', ...(init.headers as Record<string, string>) };
    return this.request(path, { method: 'POST', body: JSON.stringify(body), ...init, headers });
  }

  /** The value of a metric, with its labels as they are written. */
  async metric(name: string): Promise<number> {
    const { text } = await this.request('/metrics');
    const line = text.split('\n').find((each) => each.startsWith(`${name} `));
    return Number(line?.split(' ')[1]);
  }
}

/** Serves a model on any free port until the test ends. */
export async function started(
  t: TestContext,
  model: TextEncoder | CrossEncoder,
  options: ServeOptions = {},
): Promise<Client> {
  const server = await serve(model, { port: 0, ...options });
  t.after(async () => {
    await server.close();
    model.dispose();
  });
  return new Client(server);
}

export function embeddingsOf({ json }: Reply): number[][] {
  return (json as { data: { embedding: number[] }[] }).data.map(({ embedding }) => embedding);
}

/** The rows of a model's representations, scaled to length one where asked. */
export async function rowsOf(
  model: TextEncoder,
  texts: readonly string[],
  { normalize = true, ...options }: { normalize?: boolean } & Parameters<TextEncoder['encode']>[1] = {},
): Promise<number[][]> {
  const tensor = await model.encode(texts, options);
  const values = Array.from((await tensor.values()) as Float32Array);
  const width = tensor.shape[1]!;
  tensor.dispose();
  return texts.map((_, row) => {
    const own = values.slice(row * width, (row + 1) * width);
    const length = normalize ? Math.hypot(...own) : 1;
    return own.map((value) => value / length);
  });
}

export function isClose(found: readonly number[][], expected: readonly number[][]): boolean {
  return (
    found.length === expected.length &&
    found.every(
      (row, k) =>
        row.length === expected[k]!.length &&
        row.every((value, i) => Math.abs(value - expected[k]![i]!) < 2e-6),
    )
  );
}
