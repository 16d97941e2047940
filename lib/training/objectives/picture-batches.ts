import { resolve } from 'node:path';
import { GradCacheError } from '../../errors.js';
import { countedCaptions, type ImageTextTowers } from '../../images/image-text-towers.js';
import { READ } from '../../images/internal.js';
import { Tensor } from '../../tensor/tensor.js';
import type { TokenBatch } from '../../tokenizer/tokenizer.js';
import type { FilledTrainConfig } from '../read-config.js';
import { ofRows, type Texts } from './objective.js';

/** Told of a picture that cannot be decoded, and is passed over. */
export type OnBadPicture = (path: string, reason: string) => void;

/** A row whose picture cannot be decoded. */
export interface BadRow {
  readonly row: number;
  /** Its file and why, as a sentence. */
  readonly reason: string;
}

/** The pictures and captions of some rows, as the towers take them. */
export interface PictureRows {
  /** A tower for each column, in the order of the columns. None where no row is left. */
  readonly towers: readonly (Tensor | TokenBatch)[];
  /** The rows that they are of: those whose picture could be decoded. */
  readonly rows: Uint32Array;
  /** The other rows. */
  readonly bad: readonly BadRow[];
  /** Tokens of the captions, and captions that were cut. */
  readonly tokens: number;
  readonly truncated: number;
}

/** Reads the pictures and tokenises the captions of batches. */
export class PictureBatches {
  constructor(
    readonly config: Pick<FilledTrainConfig, 'columns' | 'images' | 'onBadLine'>,
    readonly model: ImageTextTowers,
    readonly onBad: OnBadPicture,
  ) {}

  /** The file of a path of the data. */
  static file(folder: string, path: string): string {
    return resolve(folder, path);
  }

  /**
   * @param folder where the paths of the rows begin
   * @param rows those to take; undefined: all
   * @throws GradCacheError `INPUT` with the path of a picture that cannot be decoded, unless such are passed over
   */
  async read(texts: Texts, folder: string, rows: Uint32Array | undefined): Promise<PictureRows> {
    const { columns, images } = this.config;
    const asked = rows ?? Uint32Array.from(texts[images!]!.keys());
    const { pixels, kept, bad } = await this.#pictures(
      ofRows(texts[images!]!, asked).map((path) => PictureBatches.file(folder, path)),
    );
    for (const { path, message } of bad) this.onBad(path, message);
    const good = new Set(kept);
    // Bad pictures are told in the order of their rows.
    const passed = [...asked]
      .filter((_, place) => !good.has(place))
      .map((row, place): BadRow => ({ row, reason: bad[place]!.message }));
    if (pixels === null) return { towers: [], rows: new Uint32Array(), bad: passed, tokens: 0, truncated: 0 };
    const own = Uint32Array.from(kept, (place) => asked[place]!);
    const towers: (Tensor | TokenBatch)[] = [];
    let [tokens, truncated] = [0, 0];
    try {
      for (const column of columns) {
        if (column === images) {
          towers.push(pixels);
          continue;
        }
        const captions = await countedCaptions(this.model.captions, ofRows(texts[column]!, own));
        towers.push(captions.batch);
        tokens += captions.tokens;
        truncated += captions.truncated;
      }
    } catch (error) {
      disposeTowers(new Set([pixels, ...towers]));
      throw error;
    }
    return { towers, rows: own, bad: passed, tokens, truncated };
  }

  async #pictures(paths: readonly string[]): ReturnType<ImageTextTowers['images'][typeof READ]> {
    const { onBadLine } = this.config;
    try {
      return await this.model.images[READ](paths, { onBadPicture: onBadLine });
    } catch (error) {
      if (onBadLine === 'skip' || (error as GradCacheError).code !== 'INPUT') throw error;
      throw new GradCacheError(
        'INPUT',
        `${(error as Error).message.replace(/[.]?$/, '.')} Correct the file, pass over such pictures (onBadLine: 'skip', --on-bad-line skip), or name another column of paths (images, --images).`,
        { cause: error },
      );
    }
  }
}

/** Frees what is a tensor; tokens of a text encoder are none. */
export function disposeTowers(towers: Iterable<Tensor | TokenBatch>): void {
  for (const tower of towers) if (tower instanceof Tensor) tower.dispose();
}
