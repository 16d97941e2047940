import { isDeepStrictEqual } from 'node:util';
import type { ChunkSize, FixedChunkSize } from '../../step/chunk-plan.js';
import type { GradCache } from '../../step/gradcache.js';
import type { ChunkState } from '../checkpoint.js';
import type { FilledTrainConfig } from '../read-config.js';

type Chunk = Pick<FilledTrainConfig, 'chunk'>;

interface Model {
  readonly device: string;
  readonly automaticChunk: FixedChunkSize;
}

/** The masks of dropout follow the chunks: a resumed run cuts them as the run before it did, if it is asked the same. */
export function firstChunkSize(
  { chunk: asked }: Chunk,
  model: Model,
  stored: ChunkState | undefined,
): ChunkSize {
  const same = isDeepStrictEqual(stored?.asked, asked) && stored?.device === deviceKind(model);
  return stored !== undefined && same ? stored.size : asked;
}

/** What a checkpoint keeps of the chunk size: nothing where a new run would begin with the same. */
export function chunkState(
  { chunk: asked }: Chunk,
  model: Model,
  gradcache: Pick<GradCache, 'chunkSizes'>,
): ChunkState | undefined {
  const size = gradcache.chunkSizes()[0]!;
  const first = asked === 'auto' ? model.automaticChunk : asked;
  return isDeepStrictEqual(size, first) ? undefined : { asked, device: deviceKind(model), size };
}

const deviceKind = ({ device }: Model): string => device.split(':')[0]!;
