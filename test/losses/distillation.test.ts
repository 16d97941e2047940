import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Tensor } from '../../lib/index.js';
import { call, distillKLDiv, embedDistill, marginMSE, mse } from '../../lib/index.js';
import { assertLikeTwin, rowsOf, tensorOf, towersOf } from './twins.js';
import { assertLikeVector, vectorsAbsent, vectorsOf } from './vectors.js';

const dots = (a: Tensor, b: Tensor): Tensor => a.mul(b).sum(1);

test("margins are compared with a teacher's, given as margins or as scores", async () => {
  for (const { what, towers } of towersOf(4)) {
    const scores = rowsOf(towers[0]!.length, 3, 9);
    const margins = scores.map(([positive, ...negatives]) => negatives.map((each) => positive! - each));
    const twin = (query: Tensor, positive: Tensor, first: Tensor, second: Tensor): Tensor => {
      const wanted = tensorOf(margins);
      const errors = [first, second].map((negative, k) =>
        dots(query, positive)
          .sub(dots(query, negative))
          .sub(wanted.narrow(1, k, 1).reshape([-1])),
      );
      return errors
        .map((error) => error.mul(error).mean())
        .reduce((sum, each) => sum.add(each))
        .div(2);
    };
    for (const labels of [scores, margins, tensorOf(margins), scores.map((row) => Float64Array.from(row))])
      await assertLikeTwin(marginMSE(), twin, towers, { labels }, what);
  }
});

test('one margin a row is enough for one negative', async () => {
  const towers = [1, 2, 3].map((seed) => tensorOf(rowsOf(4, 3, seed)));
  const flat = await marginMSE().compute(towers, 1, { labels: [1, 2, 3, 4] });
  const nested = await marginMSE().compute(towers, 1, { labels: [[1], [2], [3], [4]] });
  assert.equal(flat.loss, nested.loss);
});

test('the divergence of the model from the teacher, at any temperature', async () => {
  for (const { what, towers } of towersOf(4))
    for (const [student, teacher] of [
      [1, 1],
      [0.001, 3],
      [100, 0.01],
    ] as const) {
      const scores = rowsOf(towers[0]!.length, 3, 5);
      const twin = (query: Tensor, ...candidates: Tensor[]): Tensor => {
        const made: Tensor = call(
          'aten::stack',
          candidates.slice(0, 3).map((each) => dots(query, each)),
          1,
        );
        const predicted = made.div(student).sub(made.div(student).logsumexp(1).reshape([-1, 1]));
        const wanted = tensorOf(scores).div(teacher).softmax(1);
        // 0 log 0 is 0.
        const entropy = call<Tensor>('aten::xlogy.Tensor', wanted, wanted).sum();
        return entropy.sub(wanted.mul(predicted).sum()).mul(student ** 2 / scores.length);
      };
      const loss = distillKLDiv({ studentTemperature: student, teacherTemperature: teacher });
      await assertLikeTwin(
        loss,
        twin,
        towers,
        { labels: scores },
        `${what}, ${student} and ${teacher}`,
        1e-9,
      );
    }
});

test("representations are compared with a teacher's: one for all towers, or one for each", async () => {
  for (const { what, towers } of towersOf(2)) {
    const [rows, dimension] = [towers[0]!.length, towers[0]![0]!.length];
    const teachers = [rowsOf(rows, dimension, 7), rowsOf(rows, dimension, 8)];
    const each = teachers[0]!.map((row, k) => [row, teachers[1]![k]!]);
    for (const distance of ['cosine', 'mse', 'l2'] as const)
      for (const labels of [teachers[0], each]) {
        const twin = (...made: Tensor[]): Tensor => {
          const losses = made.slice(0, 2).map((tower, place) => {
            const wanted = tensorOf(labels === each ? teachers[place]! : teachers[0]!);
            const difference = tower.sub(wanted);
            if (distance === 'mse')
              return difference
                .mul(difference)
                .sum()
                .div(rows * dimension);
            if (distance === 'l2') return difference.mul(difference).sum(1).sqrt().mean();
            return dots(tower.normalize(), wanted.normalize()).neg().add(1).mean();
          });
          return losses[0]!.add(losses[1]!).div(2);
        };
        await assertLikeTwin(embedDistill({ distance }), twin, towers, { labels }, `${what}, ${distance}`);
        if (distance === 'mse') await assertLikeTwin(mse(), twin, towers, { labels }, what);
      }
  }
});

test('labels that do not fit are refused with what would', () => {
  const check = (loss: ReturnType<typeof mse>, labels: unknown, towers: number) => () =>
    loss.checkOptions!({ labels }, Array<number>(towers).fill(2));
  assert.throws(
    check(
      marginMSE(),
      [
        [1, 2, 3, 4],
        [1, 2, 3, 4],
      ],
      4,
    ),
    {
      code: 'SHAPE',
      message: 'The labels of marginMSE are [2,4]; [2, 2] margins or [2, 3] scores are needed.',
    },
  );
  assert.throws(check(distillKLDiv(), [1, 2], 3), { code: 'SHAPE', message: /\[2\]; \[2, 2\] are needed/ });
  assert.throws(check(mse(), [[[1]], [[2]]], 2), {
    code: 'SHAPE',
    message: /\[2,1,1\]; \[2, dimension\] or/,
  });
  assert.throws(check(mse(), [[1, 2], [3]], 1), {
    code: 'SHAPE',
    message: 'labels[1] has 1 numbers, and those before have 2',
  });
  assert.throws(
    check(
      mse(),
      [
        [1, 2],
        [3, 'x'],
      ],
      1,
    ),
    { code: 'INPUT', message: 'labels[1][1] is "x"; a finite number is needed.' },
  );
  assert.throws(check(mse(), [[1], [NaN]], 1), {
    code: 'INPUT',
    message: 'labels[1][0] is NaN; a finite number is needed.',
  });
  assert.throws(check(mse(), [[1]], 1), {
    code: 'SHAPE',
    message: 'There are 1 labels for 2 rows; one for each is needed.',
  });
  assert.throws(check(mse(), undefined, 1), {
    code: 'INPUT',
    message: /^The loss mse needs labels, the teacher's rep/,
  });
});

test('a teacher of another dimension needs a projection', async () => {
  const towers = [tensorOf(rowsOf(3, 4, 1))];
  const labels = rowsOf(3, 6, 2);
  await assert.rejects(mse().compute(towers, 1, { labels }), {
    code: 'SHAPE',
    message:
      "The teacher's representations have 6 numbers, the model's 4: give mse a projection (projection, --loss.projection).",
  });
  const loss = mse({ projection: { from: 4, to: 6, dtype: 'float64' } });
  const { gradients } = await loss.compute(towers, 1, { labels });
  assert.deepEqual(gradients[0]!.shape, [3, 4]);
  assert.deepEqual(
    loss.parameters().map(({ name, tensor }) => [name, tensor.shape, tensor.grad!.shape]),
    [
      ['loss.projection.weight', [6, 4], [6, 4]],
      ['loss.projection.bias', [6], [6]],
    ],
  );
  await assert.rejects(loss.compute([tensorOf(rowsOf(3, 5, 1))], 1, { labels }), {
    code: 'SHAPE',
    message: 'The loss was made for representations of dimension 4, and these have 5.',
  });
});

test("distillation agrees with sentence-transformers' values", { skip: vectorsAbsent }, async () => {
  for (const vector of vectorsOf('MarginMSELoss'))
    await assertLikeVector(marginMSE(), vector, vector.options);
  for (const vector of vectorsOf('DistillKLDivLoss')) {
    const { student_temperature: studentTemperature = null, teacher_temperature: teacherTemperature = null } =
      vector.params as Record<string, number>;
    await assertLikeVector(distillKLDiv({ studentTemperature, teacherTemperature }), vector, vector.options);
  }
  for (const vector of vectorsOf('EmbedDistillLoss')) {
    const { distance_metric: distance } = vector.params as { distance_metric: 'cosine' | 'l2' };
    await assertLikeVector(embedDistill({ distance }), vector, vector.options);
  }
});
