import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GradCache, infoNCE, type Encoder, type Retain, type TokenBatch } from '../../lib/index.js';
import { clear, gradients, tenTexts, textEncoder } from '../exactness/support.js';
import { fails } from '../robustness/failures.js';
import { membersOf } from '../robustness/members.js';

const batches = [tenTexts(1), tenTexts(2)] as const;

/** What a step looks at of an encoder, and what must be said of a wrong one. */
const MEMBERS: Record<keyof Encoder, RegExp | null> = {
  device: /device/,
  automaticChunk: /automaticChunk/,
  trainedDimension: /trainedDimension/,
  layers: /layers/,
  lengths: /lengths/,
  truncated: /truncated/,
  pack: /pack/,
  forwardChunk: /forwardChunk|ticket/,
  graphBytes: /graphBytes/,
  parameters: /parameters/,
  perToken: null, // true or false of whatever it is
  sparse: /sparse/,
  queues: null, // true or false of whatever it is
  backwardChunk: null, // its result is not used
  rowPasses: /rowPasses/,
};

const ODD: readonly unknown[] = [
  'no',
  -1,
  NaN,
  true,
  {},
  [null],
  () => 1,
  5n,
  Symbol('odd'),
  { tokens: 0 },
  { representations: 1 },
  Promise.resolve(3),
];

for (const [member, message] of Object.entries(MEMBERS)) {
  test(`an encoder of one's own whose ${member} is or gives something odd has a typed error, or none`, async () => {
    const encoder = await textEncoder('float32');
    const own = (odd: unknown): Encoder<TokenBatch> => {
      const value: unknown = Reflect.get(encoder, member);
      return Object.create(
        {},
        Object.fromEntries(
          Object.keys(MEMBERS).map((name) => {
            // With rowPasses a step would not look at forwardChunk and backwardChunk.
            const given: unknown = name === 'rowPasses' ? undefined : Reflect.get(encoder, name);
            const method = (...args: unknown[]) =>
              (given as (...args: unknown[]) => unknown).apply(encoder, args);
            const replaced = typeof value === 'function' ? () => odd : odd;
            return [
              name,
              { value: name === member ? replaced : typeof given === 'function' ? method : given },
            ];
          }),
        ),
      ) as Encoder<TokenBatch>;
    };
    const step = async (odd: unknown, retain: Retain) => {
      const towers = own(odd);
      return new GradCache({ encoders: [towers, towers], loss: infoNCE(), retain }).step(batches);
    };
    const asked = member === 'trainedDimension' ? 'auto' : { bytes: 1e6 };
    for (const odd of ODD) {
      if (member === 'device' && odd === 'no') continue; // libtorch says that there is no such device
      if (message === null) assert.ok(Number.isFinite((await step(odd, asked)).loss));
      else
        await assert.rejects(
          step(odd, asked),
          fails(['INPUT', 'DEVICE'], message),
          `${member}: ${String(odd)}`,
        );
    }
    if (message !== null)
      for (const values of (await gradients([encoder])).values())
        assert.ok(Array.from(values).every((value) => value === 0));
  });
}

test('what passes over rows give is checked as what passes over chunks do', async () => {
  const encoder = await textEncoder('float32');
  const passes = encoder.rowPasses!;
  const step = (rowPasses: object) => {
    const own = Object.fromEntries(
      Object.keys(MEMBERS).map((name) => {
        const given: unknown = Reflect.get(encoder, name);
        return [name, typeof given === 'function' ? given.bind(encoder) : given];
      }),
    );
    const towers = { ...own, rowPasses } as unknown as Encoder<TokenBatch>;
    return new GradCache({ encoders: [towers, towers], loss: infoNCE() }).step(batches);
  };
  assert.ok(Number.isFinite((await step(passes)).loss));
  clear([encoder]);
  for (const odd of [...ODD, undefined, null, passes.empty(3)]) {
    await assert.rejects(step({ ...passes, empty: () => odd }), fails(['INPUT', 'SHAPE']), String(odd));
    await assert.rejects(
      step({ ...passes, forward: async () => Promise.resolve(odd) }),
      fails('INPUT', /ticket of rowPasses/),
      String(odd),
    );
  }
  for (const values of (await gradients([encoder])).values())
    assert.ok(Array.from(values).every((value) => value === 0));
});

test('an encoder without one of the methods is refused before a step', async () => {
  const encoder = await textEncoder('float32');
  for (const [member, method] of Object.entries(membersOf(Object.getPrototypeOf(encoder) as object))) {
    if (!Object.hasOwn(MEMBERS, member) || typeof method.value !== 'function') continue;
    // A step goes without pack(), but not with something else in its place.
    const value = member === 'pack' ? 3 : undefined;
    const without = Object.create(encoder, { [member]: { value } }) as Encoder<TokenBatch>;
    const message = member === 'forwardChunk' ? /no encoder/ : new RegExp(`${member} of encoders\\[1\\]`);
    assert.throws(
      () => new GradCache({ encoders: [encoder, without], loss: infoNCE() }),
      fails('INPUT', message),
    );
  }
});
