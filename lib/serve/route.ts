import type { Schema } from './json-schema.js';

/** How a route writes its errors: as OpenAI's API does, or as text-embeddings-inference does. */
export type ErrorForm = 'openai' | 'tei';

/** An answer. */
export interface Answer {
  readonly status?: 200 | 503;
  readonly text: string;
}

/** What a server answers at one path. */
export interface Route {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  /** Its name in clients that are made from the OpenAPI document. */
  readonly operation: string;
  readonly summary: string;
  /** Whether it needs no API key: a probe has none. */
  readonly open?: boolean;
  readonly body?: Schema;
  /** The property of the body that names what is asked for: what has another name is not found. */
  readonly resource?: string;
  readonly type: 'application/json' | 'text/plain; version=0.0.4';
  /** Of an answer in JSON. */
  readonly answer?: Schema;
  readonly errors: ErrorForm;
  /** @param body which fits the schema */
  handle(body: Readonly<Record<string, unknown>>, signal: AbortSignal): Promise<Answer>;
}
