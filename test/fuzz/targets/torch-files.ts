import { writeFileSync } from 'node:fs';
import { Tensor, tidy } from '../../../lib/index.js';
import { readTorchFile } from '../../../lib/torch-file/torch-file.js';
import { smallTensors } from '../../encoders/small-model.js';
import { pickledDict, pickledTensor, torchFile, zip } from '../../torch-file/write-torch-file.js';
import { mutateBytes } from '../mutations.js';
import type { Target } from '../target.js';

/** Files of torch.save, whole and with a pickle or an archive that was changed. What is read must make tensors. */
export const torchFiles: Target = {
  count: 1000,
  prepare: () => {
    const [first] = [...smallTensors.values()];
    const data = pickledDict([
      ['a', pickledTensor('0', first!)],
      ['b', pickledTensor('0', first!)],
    ]);
    const legacy = Buffer.concat([
      Buffer.from('\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}q\x00.', 'latin1'),
      data,
      Buffer.from('\x80\x02]X\x01\x00\x00\x000a.', 'latin1'),
    ]);
    const whole = torchFile(smallTensors);
    return Promise.resolve(async (random) => {
      const file = random.pick([
        () => mutateBytes(whole, random),
        () => mutateBytes(legacy, random),
        () =>
          zip([
            ['archive/data.pkl', mutateBytes(data, random)],
            ['archive/data/0', first!.bytes],
          ]),
      ])();
      writeFileSync('file.bin', file);
      for (const { bytes, shape, dtype } of (await readTorchFile('file.bin')).values())
        tidy(() => Tensor.fromBytes(bytes, { shape, dtype }).size);
    });
  },
};
