import type { IncomingMessage } from 'node:http';
import { isJsonObject } from '../files/strict-json.js';
import { problemIn } from './json-schema.js';
import { refuse } from './refusal.js';
import type { Route } from './route.js';

/**
 * So many times the limit is read of a body that is too long, without keeping it: a client that is cut off while it sends does
 * not see why.
 */
const READ_ON = 8;

/**
 * The JSON object in the body of a request.
 *
 * @param most bytes
 * @throws RefusedRequest 400, 404, 413, 415, 422
 */
export async function readBody(
  request: IncomingMessage,
  { body = {}, resource }: Pick<Route, 'body' | 'resource'>,
  most: number,
): Promise<Record<string, unknown>> {
  const bytes = await readBytes(request, most);
  requireJsonType(request);
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    // What the parser says quotes the text.
    refuse({ status: 400, code: 'invalid_json', message: 'the body is not JSON in UTF-8.' });
  }
  const problem = problemIn(value, body);
  if (problem === undefined && isJsonObject(value)) return value;
  const { path = '', message = 'is no object.' } = problem ?? {};
  return refuse({
    ...(resource !== undefined && path === resource && typeof valueAt(value, path) === 'string'
      ? { status: 404, code: `${resource}_not_found` }
      : { status: 422, code: 'invalid_value' }),
    message: `${path === '' ? 'the body' : path} ${message}`,
    ...(path !== '' && { property: path }),
  });
}

function valueAt(value: unknown, name: string): unknown {
  return isJsonObject(value) ? value[name] : undefined;
}

/** A web page can send other types to a server on the same machine without asking. */
function requireJsonType({ headers }: IncomingMessage): void {
  const type = headers['content-type']?.split(';')[0]?.trim().toLowerCase();
  if (type !== 'application/json')
    refuse({
      status: 415,
      code: 'unsupported_media_type',
      message: `the Content-Type is ${type === undefined ? 'missing' : JSON.stringify(type)}; application/json is needed.`,
    });
  const encoding = headers['content-encoding']?.toLowerCase();
  if (encoding !== undefined && encoding !== 'identity')
    refuse({
      status: 415,
      code: 'unsupported_media_type',
      message: `the Content-Encoding is ${JSON.stringify(encoding)}; send the body as it is.`,
    });
}

async function readBytes(request: IncomingMessage, most: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes <= most) parts.push(part);
    else parts.length = 0;
    if (bytes > READ_ON * most) break;
  }
  if (bytes <= most) return Buffer.concat(parts);
  return refuse({
    status: 413,
    code: 'body_too_large',
    message: `the body has more than ${most} bytes, the most that this server takes: send fewer texts at a time.`,
    headers: { Connection: 'close' },
  });
}
