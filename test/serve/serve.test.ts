import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { test } from 'node:test';
import { setImmediate, setTimeout as wait } from 'node:timers/promises';
import { call, noGrad, serve, Tensor, TextEncoder } from '../../lib/index.js';
import type { Route } from '../../lib/serve/route.js';
import { RouteServer } from '../../lib/serve/route-server.js';
import { filled } from '../../lib/serve/serve-options.js';
import { TINY_CONFIG } from '../training/support.js';
import {
  embeddingsOf,
  isClose,
  rowsOf,
  started,
  tinyCrossEncoder,
  tinyModel,
  tokenizer,
  type Client,
} from './support.js';

const TEXTS = ['the old dog', '', 'bread, and "butter" \ud83c\udf5e', 'a river that is long'];

test("OpenAI's route gives what encode gives, scaled to length one", async (t) => {
  const model = tinyModel();
  const client = await started(t, model, { name: 'tiny' });
  const ask = (body: object) => client.post('/v1/embeddings', { model: 'tiny', ...body });
  const reply = await ask({ input: TEXTS });
  assert.equal(reply.status, 200, reply.text);
  const expected = await rowsOf(model, TEXTS);
  assert.ok(isClose(embeddingsOf(reply), expected));
  const { object, data, model: named, usage } = reply.json as Record<string, unknown>;
  const { ids } = await model.tokenize(TEXTS);
  assert.deepEqual([object, named], ['list', 'tiny']);
  assert.deepEqual(usage, { prompt_tokens: ids.length, total_tokens: ids.length });
  assert.deepEqual(
    (data as { object: string; index: number }[]).map(({ object, index }) => [object, index]),
    TEXTS.map((_, index) => ['embedding', index]),
  );
  assert.ok(isClose(embeddingsOf(await ask({ input: TEXTS[0], user: 'somebody' })), [expected[0]!]));

  const bytes = await ask({ input: TEXTS, encoding_format: 'base64' });
  const decoded = (bytes.json as { data: { embedding: string }[] }).data.map(({ embedding }) => {
    const buffer = Buffer.from(embedding, 'base64');
    return Array.from({ length: buffer.length / 4 }, (_, place) => buffer.readFloatLE(4 * place));
  });
  assert.deepEqual(
    decoded,
    embeddingsOf(reply).map((row) => row.map(Math.fround)),
    'numbers in JSON are read back as the same float32',
  );

  const short = await ask({ input: TEXTS, dimensions: 5 });
  assert.ok(isClose(embeddingsOf(short), await rowsOf(model, TEXTS, { dimensions: 5 })));

  for (const [type, prompt] of [
    ['query', 'query'],
    ['document', 'passage'],
  ] as const) {
    const typed = await ask({ input: TEXTS, input_type: type });
    assert.ok(isClose(embeddingsOf(typed), await rowsOf(model, TEXTS, { prompt })));
  }
});

test('token ids are taken as they are', async (t) => {
  const model = tinyModel();
  const client = await started(t, model);
  const lists: number[][] = [];
  for (const text of TEXTS) lists.push(Array.from((await model.tokenize([text])).ids));
  const ask = (input: unknown) => client.post('/v1/embeddings', { model: 'model', input });
  const expected = await rowsOf(model, TEXTS);
  assert.ok(isClose(embeddingsOf(await ask(lists)), expected));
  assert.ok(isClose(embeddingsOf(await ask(lists[2])), [expected[2]!]));
  const refused = await ask([[5, tokenizer.vocabularySize]]);
  assert.equal(refused.status, 422);
  assert.match(refused.text, /input\[0\]\[1\] is 8192; a whole number from 0 to 8191 is needed/);
  assert.match(
    (await ask([1.5])).text,
    /input is \[1\.5\]; a text, a list of 1 to 2048 texts, a list of token/,
  );
  assert.match((await ask(new Array(33).fill(7))).text, /input has 33 items; 1 to 32 are needed/);
});

test("text-embeddings-inference's route scales, cuts and takes prompts as asked", async (t) => {
  const model = tinyModel();
  const client = await started(t, model);
  const vectors = async (body: object) => {
    const reply = await client.post('/embed', body);
    assert.equal(reply.status, 200, reply.text);
    return reply.json as number[][];
  };
  assert.ok(isClose(await vectors({ inputs: TEXTS }), await rowsOf(model, TEXTS)));
  const plain = { normalize: false };
  assert.ok(isClose(await vectors({ inputs: TEXTS, ...plain }), await rowsOf(model, TEXTS, plain)));
  assert.ok(isClose(await vectors({ inputs: 'a dog' }), await rowsOf(model, ['a dog'])));
  const few = { ...plain, dimensions: 3 };
  assert.ok(isClose(await vectors({ inputs: TEXTS, ...few }), await rowsOf(model, TEXTS, few)));
  assert.ok(
    isClose(
      await vectors({ inputs: TEXTS, prompt_name: 'query' }),
      await rowsOf(model, TEXTS, { prompt: 'query' }),
    ),
  );
  const long = `${'many words '.repeat(40)}end`;
  const cut = { inputs: ['short', long], truncate: true, truncation_direction: 'Right' };
  assert.ok(isClose(await vectors(cut), await rowsOf(model, ['short', long])));
  assert.equal(await client.metric('gradcache_truncated_texts_total'), 1);
});

test('a cross-encoder ranks', async (t) => {
  const model = tinyCrossEncoder();
  const client = await started(t, model);
  const documents = ['a river', 'the old dog', 'some bread'];
  const ask = (body: object) => client.post('/rerank', { query: 'which dog', texts: documents, ...body });
  const expected = await model.rank('which dog', documents);
  const found = (await ask({ return_text: true })).json as { index: number; score: number; text: string }[];
  assert.deepEqual(
    found.map(({ index, text }) => [index, text]),
    expected.map(({ index }) => [index, documents[index]]),
  );
  const raw = (await ask({ raw_scores: true })).json as { index: number; score: number; text?: string }[];
  const logits = await model.rank('which dog', documents, { activation: 'identity' });
  for (const [place, { score, text }] of raw.entries()) {
    assert.ok(Math.abs(score - logits[place]!.score) < 1e-6);
    assert.ok(Math.abs(found[place]!.score - expected[place]!.score) < 1e-6);
    assert.equal(text, undefined);
  }
  assert.equal((await client.post('/embed', { inputs: 'a' })).status, 404);
  assert.match((await ask({ texts: ['a', 'long '.repeat(40)] })).text, /texts\[1\] has more than 32 tokens/);
});

test('a cross-encoder reads long texts in windows where it is asked to', async (t) => {
  const model = tinyCrossEncoder();
  const client = await started(t, model, { windows: { overlap: 3 }, maxTexts: 40, maxQueue: 60 });
  const documents = [
    Array.from({ length: 30 }, (_, k) => `number ${k}`).join(' '),
    'the old dog',
    'bread '.repeat(33),
    ...Array.from({ length: 32 }, (_, k) => `river ${k}`),
  ];
  const ask = (body: object) => client.post('/rerank', { query: 'which dog', texts: documents, ...body });
  const expected = await model.rank('which dog', documents, { windows: { overlap: 3 } });
  const found = (await ask({})).json as { index: number; score: number }[];
  assert.equal(found.length, documents.length);
  const scoreOf = (index: number): number => expected.find((each) => each.index === index)!.score;
  for (const { index, score } of found) assert.ok(Math.abs(score - scoreOf(index)) < 1e-6, String(index));
  const cut = (await ask({ truncate: true, texts: documents.slice(0, 1) })).json as { score: number }[];
  const [whole] = await model.predict([['which dog', documents[0]!]]);
  assert.ok(Math.abs(cut[0]!.score - whole!) < 1e-6);
  const query = await ask({ query: 'which dog '.repeat(20), texts: ['a', documents[0]] });
  assert.equal(query.status, 422);
  assert.match(query.text, /texts\[0\]:? .*leaves no room in windows of 32 tokens/);
  const many = await ask({ texts: ['bread '.repeat(3000)] });
  assert.equal(many.status, 422);
  assert.match(many.text, /texts have more than 60 windows/);
  const { text } = await client.request('/openapi.json');
  assert.match(text, /read in windows beside the whole query/);
  await assert.rejects(serve(model, { port: 0, windows: true, truncate: true }), { code: 'INPUT' });
  await assert.rejects(serve(model, { port: 0, windows: { overlap: 30 } }), {
    code: 'INPUT',
    message: /^overlap is 30; less than \d+ \(a window has 32 tokens, \d special\) is needed/,
  });
  using encoder = tinyModel();
  await assert.rejects(serve(encoder, { port: 0, windows: true }), {
    code: 'INPUT',
    message: /^windows is true; false \(or no --windows\) for a model that gives texts one dense/,
  });
});

test('what cannot be taken is refused by name, in the form of each API', async (t) => {
  const client = await started(t, tinyModel(), { name: 'tiny' });
  const long = 'many words '.repeat(40);
  const openai: [object, number, string, string | undefined, RegExp][] = [
    [{ input: 'a' }, 422, 'invalid_value', 'model', /^model is missing; "tiny" is needed\.$/],
    [{ model: 'ada', input: 'a' }, 404, 'model_not_found', 'model', /^model is "ada"; "tiny" is needed\.$/],
    [{ model: 7, input: 'a' }, 422, 'invalid_value', 'model', /^model is 7; "tiny" is needed/],
    [{ model: 'tiny', input: [] }, 422, 'invalid_value', 'input', /input has 0 items; 1 to 2048 are needed/],
    [{ model: 'tiny', input: ['a', null] }, 422, 'invalid_value', 'input[1]', /input\[1\] is null; a string/],
    [
      { model: 'tiny', input: 'a', dimension: 3 },
      422,
      'invalid_value',
      'dimension',
      /did you mean dimensions/,
    ],
    [{ model: 'tiny', input: 'a', dimensions: 17 }, 422, 'invalid_value', 'dimensions', /from 1 to 16 is/],
    [{ model: 'tiny', input: ['a', long] }, 422, 'too_long', 'input[1]', /more than 32 tokens.*--truncate/],
    [[], 422, 'invalid_value', undefined, /^the body is \[\]; an object is needed/],
  ];
  for (const [body, status, code, param, message] of openai) {
    const reply = await client.post('/v1/embeddings', body);
    const { error } = reply.json as { error: Record<string, string> };
    assert.deepEqual([reply.status, error.code, error.param], [status, code, param], reply.text);
    assert.equal(error.type, 'invalid_request_error');
    assert.match(error.message!, message);
  }
  const tei = await client.post('/embed', { inputs: ['a', long], prompt_name: 'nobody' });
  assert.equal(tei.status, 422);
  assert.match(tei.text, /^\{"error":"prompt_name is \\"nobody\\"; .*","error_type":"invalid_value"\}$/);
  assert.match(
    (await client.post('/embed', { inputs: long })).text,
    /inputs has more .*\\"truncate\\": true/,
  );

  const json = { 'Content-Type': 'application/json' };
  const raw: [string, RequestInit, number, RegExp][] = [
    ['/embed', { method: 'POST', headers: json, body: '{"inputs": ' }, 400, /the body is not JSON in UTF-8/],
    ['/embed', { method: 'POST', headers: json, body: Buffer.from([0x22, 0xff, 0x22]) }, 400, /not JSON/],
    ['/embed', { method: 'POST', body: '{"inputs": "a"}' }, 415, /Content-Type is \\"text\/plain\\"/],
    ['/embed', { method: 'GET' }, 405, /\/embed takes POST, not GET/],
    ['/health', { method: 'DELETE' }, 405, /takes GET/],
    ['/nothing?x=1', {}, 404, /there are \/v1\/embeddings, .*\/openapi\.json/],
  ];
  for (const [path, init, status, message] of raw) {
    const reply = await client.request(path, init);
    assert.equal(reply.status, status, reply.text);
    assert.match(reply.text, message);
    assert.equal(reply.headers.has('allow'), status === 405);
  }
  assert.equal((await client.request('/health', { method: 'HEAD' })).status, 200);
});

test('a path that is no URL is refused, and the server goes on', async (t) => {
  const client = await started(t, tinyModel());
  const { port } = new URL(client.server.url);
  const answer = await new Promise<string>((resolve) => {
    const socket = connect(Number(port), '127.0.0.1');
    let text = '';
    socket.on('data', (part) => (text += String(part))).on('close', () => resolve(text));
    socket.write('GET // HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
  });
  assert.match(answer, /^HTTP\/1\.1 404 /);
  assert.equal((await client.request('/health')).status, 200);
});

test('limits of a request: bytes, however they are sent, and texts', async (t) => {
  const client = await started(t, tinyModel(), { maxBody: 1000, maxTexts: 3 });
  assert.equal((await client.post('/embed', { inputs: ['a', 'b', 'c'] })).status, 200);
  const many = await client.post('/embed', { inputs: ['a', 'b', 'c', 'd'] });
  assert.equal(many.status, 422);
  assert.match(many.text, /inputs has 4 items; 1 to 3 are needed/);
  const large = JSON.stringify({ inputs: 'a'.repeat(1000) });
  async function* pieces() {
    yield Buffer.from(large.slice(0, 900));
    await wait(5);
    yield Buffer.from(large.slice(900));
  }
  for (const body of [large, pieces() as unknown as string]) {
    const init = {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body,
      duplex: 'half' as const,
    };
    const reply = await client.request('/embed', init);
    assert.equal(reply.status, 413);
    assert.match(reply.text, /more than 1000 bytes/);
  }
});

test('a full queue and too many requests are refused with the time to wait', async (t) => {
  const model = tinyModel();
  const client = await started(t, model, { maxQueue: 3, maxTexts: 3, maxRequests: 2 });
  const tokenize = model.tokenize.bind(model);
  let go: () => void = () => undefined;
  const gate = new Promise<void>((resolve) => (go = resolve));
  model.tokenize = async (...args) => {
    await gate;
    return tokenize(...args);
  };
  const first = client.post('/embed', { inputs: ['a', 'b'] });
  await until(async () => (await client.metric('gradcache_queue_texts')) === 2);
  const full = await client.post('/embed', { inputs: ['a', 'b'] });
  assert.deepEqual([full.status, full.headers.get('retry-after')], [429, '1']);
  assert.match(full.text, /"error":"2 texts wait, and this server takes 3.*"error_type":"overloaded"/);
  const second = client.post('/embed', { inputs: 'c' });
  await until(async () => (await client.metric('gradcache_queue_texts')) === 3);
  const third = await client.post('/v1/embeddings', { model: 'model', input: 'd' });
  assert.deepEqual([third.status, third.headers.get('retry-after')], [429, '1']);
  assert.equal((third.json as { error: { type: string } }).error.type, 'rate_limit_error');
  assert.match(third.text, /2 requests are under way/);
  go();
  assert.deepEqual([(await first).status, (await second).status], [200, 200]);
  assert.equal((await client.post('/embed', { inputs: ['a', 'b', 'c'] })).status, 200);
});

test('an API key is asked for, by all but the health check', async (t) => {
  const client = await started(t, tinyModel(), { apiKey: ['first-key', 'second-key'] });
  const ask = (key: string | undefined) =>
    client.post('/embed', { inputs: 'a' }, key === undefined ? {} : { headers: { Authorization: key } });
  for (const key of [
    undefined,
    '',
    'Bearer',
    'Bearer first',
    'Bearer first-key2',
    'Basic first-key',
    'first-key',
  ]) {
    const { status, headers, text } = await ask(key);
    assert.deepEqual([status, headers.get('www-authenticate')], [401, 'Bearer'], key);
    assert.doesNotMatch(text, /first-key/);
  }
  for (const key of ['Bearer first-key', 'bearer  second-key']) assert.equal((await ask(key)).status, 200);
  for (const path of ['/metrics', '/openapi.json', '/v1/models', '/nothing'])
    assert.equal((await client.request(path)).status, 401, path);
  assert.equal((await client.request('/health')).text, '{"status":"ok"}');
  const document = await client.request('/openapi.json', { headers: { Authorization: 'Bearer first-key' } });
  assert.match(document.text, /"securitySchemes":\{"key":\{"type":"http","scheme":"bearer"\}\}/);
});

test('the work of a client that goes away is taken out of the queue', async (t) => {
  const client = await started(t, tinyModel(), { batchTokens: 8 });
  const body = JSON.stringify({ inputs: new Array<string>(2000).fill('some words of a text') });
  const gone = httpRequest(`${client.server.url}/embed`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', 'Content-Length': body.length },
  });
  gone.on('error', () => undefined);
  gone.end(body);
  await until(async () => (await client.metric('gradcache_queue_tokens')) > 100);
  gone.destroy();
  await until(async () => (await client.metric('gradcache_queue_texts')) === 0);
  assert.ok((await client.metric('gradcache_dropped_texts_total')) > 0);
  assert.equal(await client.metric('gradcache_requests_total{path="/embed",status="gone"}'), 1);
  assert.ok((await client.metric('gradcache_batch_tokens_count')) < 1900);
});

test('a short request is not held up by a long one that came before it', async (t) => {
  const client = await started(t, tinyModel(), { batchTokens: 64 });
  let isDone = false;
  const long = client
    .post('/embed', { inputs: new Array<string>(1500).fill('some words of a text that is long') })
    .finally(() => (isDone = true));
  await until(async () => (await client.metric('gradcache_queue_tokens')) > 500);
  assert.equal((await client.post('/embed', { inputs: 'short' })).status, 200);
  assert.equal(isDone, false);
  assert.equal(((await long).json as number[][]).length, 1500);
});

test('it ends when what has come is answered, and takes no more', async (t) => {
  const controller = new AbortController();
  const client = await started(t, tinyModel(), { batchTokens: 64, signal: controller.signal });
  const reply = client.post('/embed', { inputs: new Array<string>(600).fill('some words of a text') });
  await until(async () => (await client.metric('gradcache_queue_tokens')) > 100);
  const health = await connectedRequest(client);
  controller.abort();
  assert.match(await health(), /^HTTP\/1\.1 503 [^]*retry-after: 1\r\n[^]*the server is about to end/i);
  const { status, json, headers } = await reply;
  assert.deepEqual([status, (json as number[][]).length, headers.get('connection')], [200, 600, 'close']);
  await client.server.closed;
  await assert.rejects(client.request('/health'), /fetch failed/);
});

test('a client that stands still does not keep it from ending, and one that waits is answered', async (t) => {
  let arrived: () => void = () => undefined;
  const came = new Promise<void>((resolve) => (arrived = resolve));
  const routes: Route[] = [
    {
      ...{ method: 'POST', path: '/slow', operation: 'slow', summary: '', type: 'application/json' },
      ...{ errors: 'tei', body: { type: 'object' } },
      handle: async () => {
        arrived();
        await wait(900);
        return { text: '"late"' };
      },
    },
  ];
  using model = tinyModel();
  const server = new RouteServer(filled({}, model), () => routes, 300);
  const { port } = await server.listen(0, '127.0.0.1');
  const headers = { 'Content-Type': 'application/json' };
  const late = fetch(`http://127.0.0.1:${port}/slow`, { method: 'POST', headers, body: '{}' });
  const stalled = connect(port, '127.0.0.1');
  t.after(() => stalled.destroy());
  stalled.write('POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{');
  const cut = once(stalled, 'close');
  await came;
  await turns();
  server.close();
  assert.equal(await (await late).json(), 'late');
  await Promise.race([Promise.all([cut, server.closed]), rejectAfter(60_000)]);
});

test('numbers that are none fail the request alone, and are told to the program', async (t) => {
  const errors: unknown[] = [];
  const model = tinyModel();
  const client = await started(t, model, { onError: (error) => errors.push(error) });
  const [weight] = model.parameters().filter(({ name }) => name.includes('word_embeddings'));
  const [id] = (await model.tokenize(['bread'])).ids.slice(1);
  const row = Tensor.from(Int32Array.of(id!));
  noGrad(() => void call('aten::index_fill_.int_Scalar', weight!.tensor, 0, row.to({ dtype: 'int64' }), NaN));
  const [bad, good] = await Promise.all([
    client.post('/embed', { inputs: 'bread' }),
    client.post('/embed', { inputs: 'dog' }),
  ]);
  assert.deepEqual([bad.status, good.status], [500, 200]);
  assert.match(bad.text, /the model gives no number for input 0.*"non_finite"/);
  assert.deepEqual(
    errors.map((error) => (error as { code: string }).code),
    ['NON_FINITE'],
  );
  assert.equal(await client.metric('gradcache_failures_total{code="NON_FINITE"}'), 1);
});

test('options that make no sense, and models that cannot be served, are refused', async (t) => {
  const model = tinyModel();
  t.after(() => model.dispose());
  for (const [options, message] of [
    [{ port: 65_536 }, /port is 65536; a whole number from 0 to 65535/],
    [{ apiKey: '' }, /an API key is empty/],
    [{ apiKey: [] }, /apiKey is "object"; a key, or a list/],
    [{ apiKey: ['ok', 'with space'] }, /^(?!.*with space).*an API key/],
    [{ maxQueue: 5, maxTexts: 6 }, /maxQueue is 5; 6 or more/],
    [{ host: 'nowhere.invalid', port: 0 }, /port 0 of nowhere\.invalid cannot be listened at/],
    [{ name: '' }, /name is ""/],
  ] as const)
    await assert.rejects(serve(model, options), { code: 'INPUT', message });
  await using server = await serve(model, { port: 0 });
  const port = Number(new URL(server.url).port);
  await assert.rejects(serve(model, { port }), { code: 'INPUT', message: /EADDRINUSE.*Name another/ });
  const perToken = TextEncoder.create(TINY_CONFIG, tokenizer, { pooling: 'none' });
  const sparse = TextEncoder.create(TINY_CONFIG, tokenizer, { pooling: 'splade' });
  await assert.rejects(serve(perToken), { code: 'INPUT', message: /each of its tokens/ });
  await assert.rejects(serve(sparse), { code: 'INPUT', message: /sparse ones/ });
  await assert.rejects(serve({} as never), { code: 'INPUT', message: /a TextEncoder or a CrossEncoder/ });
});

async function rejectAfter(milliseconds: number): Promise<never> {
  await wait(milliseconds, undefined, { ref: false });
  throw new Error(`not within ${milliseconds} ms`);
}

/** Lets a server of this process take in what was written to it: it looks once a turn, however long a turn is. */
async function turns(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await setImmediate();
}

async function until(met: () => Promise<boolean>): Promise<void> {
  for (let turns = 0; !(await met()); turns++) {
    assert.ok(turns < 2000, 'it did not come to that');
    await wait(2);
  }
}

/** A connection with half a request on it; the function sends the rest and gives the answer. */
async function connectedRequest(client: Client): Promise<() => Promise<string>> {
  const socket = connect(Number(new URL(client.server.url).port), '127.0.0.1');
  await once(socket, 'connect');
  let text = '';
  const closed = new Promise<string>((resolve) => {
    socket.on('data', (part) => (text += String(part))).on('close', () => resolve(text));
  });
  socket.write('GET /health HTTP/1.1\r\nHost: x\r\n');
  await turns();
  return () => {
    socket.write('\r\n');
    return closed;
  };
}
