import { join } from 'node:path';
import sharp from 'sharp';
import { ImageEncoder, ImageTextModel, TextEncoder, Tokenizer } from '../../lib/index.js';
import { root } from './support.js';

export const TOKENIZER = join(root, 'examples', 'quickstart', 'tokenizer.json');

const SIZES = { hidden_size: 16, intermediate_size: 24, num_hidden_layers: 1, num_attention_heads: 2 };

/** The configuration of a CLIP of a few thousand parameters apart from its vocabulary. */
export const CLIP = {
  model_type: 'clip',
  projection_dim: 12,
  text_config: { ...SIZES, vocab_size: 8192, max_position_embeddings: 16, eos_token_id: 3 },
  vision_config: { ...SIZES, image_size: 16, patch_size: 8 },
};
export const SIGLIP = { ...CLIP, model_type: 'siglip' };

/** Saves a model with random weights. */
export async function saveModel(config: object, folder: string): Promise<string> {
  const tokenizer = await Tokenizer.fromFile(TOKENIZER);
  using model = await ImageTextModel.create(config as typeof CLIP, tokenizer, { seed: 2 });
  await model.save(folder);
  return folder;
}

/** The width of the two models below, which are trained together. */
const WIDTH = 16;

/** A ViT whose representations are so long. */
export async function saveViT(folder: string, width = WIDTH): Promise<string> {
  using images = ImageEncoder.create(
    {
      ...{ model_type: 'vit', image_size: 16, patch_size: 8, hidden_size: width, intermediate_size: 24 },
      ...{ num_hidden_layers: 1, num_attention_heads: 2 },
    },
    { seed: 3 },
  );
  await images.save(folder);
  return folder;
}

/** A text encoder whose representations are as long. */
export async function saveText(folder: string): Promise<string> {
  using captions = TextEncoder.create(
    {
      ...{ model_type: 'bert', vocab_size: 8192, hidden_size: WIDTH, max_position_embeddings: 16 },
      ...{ num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 24 },
    },
    await Tokenizer.fromFile(TOKENIZER),
    { seed: 4 },
  );
  await captions.save(folder);
  return folder;
}

const COLOURS = ['red', 'green', 'blue', 'yellow', 'black', 'white'] as const;
const PLACES = ['left', 'middle', 'right', 'edge'] as const;

/** Saves 24 pictures, a bar of a colour at a place, four of a colour after another. @returns their names and captions */
export async function savePictures(folder: string): Promise<{ image: string; caption: string }[]> {
  const rows: { image: string; caption: string }[] = [];
  for (const background of COLOURS) {
    const bar = await sharp({ create: { width: 8, height: 20, channels: 3, background } })
      .png()
      .toBuffer();
    for (const [number, place] of PLACES.entries()) {
      const image = `${background}-${place}.png`;
      await sharp({ create: { width: 20, height: 20, channels: 3, background: '#888' } })
        .composite([{ input: bar, left: 4 * number, top: 0 }])
        .png()
        .toFile(join(folder, image));
      rows.push({ image, caption: `a ${background} bar ${place}` });
    }
  }
  return rows;
}
