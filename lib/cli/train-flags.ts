import { DEFAULT_LOSS, LOSSES } from '../losses/loss-kinds.js';
import { DEFAULT_OPTIMIZER, OPTIMIZERS } from '../optim/optimizer-kinds.js';
import { bytes, list, number, numbers, offSwitch, onOff, repeated, text, type Flags } from './flags.js';
import { DATA_SET_FLAGS } from './data-set-flags.js';
import { RANK_FLAGS } from './ranks.js';
import { choiceHelp, flagsOf } from './setting-flags.js';
import { CHECKPOINT_FLAGS } from './run.js';
import { WATCH_FLAGS } from './watchers.js';
import { FORMAT_NAMES, tableFlags } from './table-flags.js';
import { EVALUATION_FLAGS } from './train-evaluation-flags.js';

/** Flags of `gradcache train` by section. */
export const TRAIN_SECTIONS: Readonly<Record<string, Flags>> = {
  'Model and data': {
    config: text('FILE', 'settings as JSON; flags win over it'),
    model: text('FOLDER|NAME', 'model folder to start from, or OWNER/NAME of the Hugging Face hub', 'model'),
    'image-model': text(
      'FOLDER|NAME',
      'a model of pictures, such as a ViT, that is trained beside --model, a text encoder',
      'imageModel',
    ),
    'model-config': text('FILE', 'start from random weights: a transformers config.json', 'model.config'),
    tokenizer: text('FILE', 'tokenizer.json of a model from random weights', 'model.tokenizer'),
    'new-head': number(
      'LABELS',
      'put a new head on the model, for the losses of cross-encoders; default: its own',
      'newHead',
    ),
    pooling: text(
      'KIND',
      'none: a representation for each token, for losses that compare token by token; splade: a\nsparse one of a masked language model; of a model from random weights also mean (default),\ncls, max or last',
      'pooling',
    ),
    projection: number(
      'WIDTH',
      'with --pooling none: a new linear layer that makes tokens so wide',
      'lateInteraction.projection',
    ),
    'query-length': number(
      'TOKENS',
      'the most tokens of a text of the first column',
      'lateInteraction.queryLength',
    ),
    'document-length': number(
      'TOKENS',
      'the most tokens of a text of the other columns',
      'lateInteraction.documentLength',
    ),
    data: repeated(
      text(
        'FILE',
        'pairs: .jsonl, .csv, .tsv (.gz) or .parquet, or hf:OWNER/NAME/PART:SPLIT of the hub; may be repeated',
        'data',
      ),
    ),
    ...DATA_SET_FLAGS,
    columns: list(
      'A,B,C',
      'anchor, positive, hard negatives; default anchor,positive and negative, negative2, … where there are',
      'columns',
    ),
    images: text(
      'COLUMN',
      'paths of pictures, from the folder of the data file, for CLIP, SigLIP or --image-model; default: the\nfirst of --columns, or image',
      'images',
    ),
    lists: list(
      'A,B',
      'those of the columns that have a list of texts in each row, of any length: positives, negatives',
      'lists',
    ),
    label: text(
      'COLUMN',
      'labels or scores, for a loss that needs them; default: label, labels, score or scores',
      'label',
    ),
    weights: text(
      'COLUMN',
      'how much each row counts, for infonce and multiple-negatives-ranking; default: all the same',
      'weights',
    ),
    ids: list(
      'A,B',
      'columns of ids, such as those of documents: rows that share one, or a text, are no negatives of each\nother; turns on --loss.maskDuplicates',
      'ids',
    ),
    'group-by-label': onOff('at least two rows of each label in a batch', 'groupByLabel'),
    ...tableFlags('--columns', '', ''),
    format: text('FORMAT', `${FORMAT_NAMES}, where the name does not tell`, 'format'),
    'on-bad-line': text('ACTION', 'throw (default) or skip, of pictures too', 'onBadLine'),
    prompt: repeated(
      text('COLUMN=NAME', "prompt of the model put before a column's texts; default none; may be repeated"),
    ),
    'prompt-text': repeated(
      text(
        'COLUMN=TEXT',
        'the words themselves; the model gets them as its prompt query (first column) or document',
      ),
    ),
    'prompt-name': repeated(text('COLUMN=NAME', 'another name in the model for the words of --prompt-text')),
    'max-length': number(
      'TOKENS',
      'tokens of a text in training, longer texts are cut; the saved model keeps its own limit',
      'maxLength',
    ),
    shuffle: offSwitch('keep the order of the files', 'shuffle'),
    'unique-texts': offSwitch('let a text be in a batch twice, its own negative', 'uniqueTexts'),
    output: text('FOLDER', 'for the model, checkpoints and metrics.jsonl', 'output'),
  },
  'Batch and memory': {
    batch: number('N', 'pairs in a batch', 'batch'),
    accumulate: number(
      'N',
      'batches of an update, each with negatives of its own; default 1. A larger --batch takes no more memory',
      'accumulate',
    ),
    'curriculum-from': number(
      'TOKENS',
      'short texts first: the greatest length of the first batch; the next three go with it',
      'curriculum.from',
    ),
    'curriculum-to': number(
      'TOKENS',
      'the greatest length in the end; default: that of the run',
      'curriculum.to',
    ),
    'curriculum-over': number('BATCHES', 'batches in which it grows', 'curriculum.over'),
    'curriculum-tokens': number(
      'TOKENS',
      'tokens that fill a batch of at most --batch pairs',
      'curriculum.tokens',
    ),
    'chunk-sequences': number('N', 'texts in the encoder at once', 'chunk.sequences'),
    'chunk-tokens': number('N', 'tokens in the encoder at once; default: automatic', 'chunk.tokens'),
    retain: {
      ...bytes(
        'BYTES',
        'memory for graphs kept from the first pass: 8GiB, auto (all that is left) or last (default)',
        'retain',
      ),
      words: ['last', 'auto'],
    },
    device: text('DEVICE', 'cpu, cuda, cuda:1 or auto (default)', 'device'),
    ...RANK_FLAGS,
    'divide-optimizer': onOff(
      'with several processes: each keeps a share of the state of the optimizer; default off',
      'divideOptimizer',
    ),
    reduction: text(
      'TYPE',
      'with several processes: bfloat16 halves what they send of gradients, and rounds them; default own',
      'reduction',
    ),
    exchange: text(
      'KIND',
      'with several processes: ring has each hold its own representations alone, for huge batches; default gather',
      'exchange',
    ),
    overlap: onOff(
      'with several processes: gradients are added up while the last chunk is still at work; default off',
      'overlap',
    ),
    precision: text('TYPE', 'float32 (default), bfloat16, float64, or on a GPU tf32', 'precision'),
  },
  Loss: {
    loss: { ...text('NAME', choiceHelp(LOSSES, DEFAULT_LOSS), 'loss.kind'), choices: Object.keys(LOSSES) },
    ...flagsOf('loss', LOSSES),
    'loss-from': text(
      'FOLDER',
      "a model folder of an earlier run: begin with its loss's classifier, projection or temperature",
      'lossFrom',
    ),
    matryoshka: numbers(
      'N,N',
      'lengths of representations to train, such as 768,256,64; default: the whole one',
      'matryoshka.dimensions',
    ),
    'matryoshka-weights': numbers(
      'W,W',
      'what the loss at each of them is multiplied by; default 1',
      'matryoshka.weights',
    ),
    'matryoshka-per-step': number(
      'N',
      'how many of them a step takes, drawn anew; default all',
      'matryoshka.dimensionsPerStep',
    ),
    'adaptive-layer': {
      ...numbers(
        'N,N',
        'train layers before the last too: all, or numbers such as 3,6,9, where 0 is what the\nembeddings give; default: the last layer alone',
        'adaptiveLayer.layers',
      ),
      words: ['all'],
    },
    'adaptive-layer-per-step': number(
      'N',
      'how many of them a step takes, drawn anew; default 1',
      'adaptiveLayer.layersPerStep',
    ),
    'adaptive-layer-weighting': text(
      'KIND',
      'how much a layer counts by its number: uniform (default), log or linear',
      'adaptiveLayer.layerWeighting',
    ),
    'adaptive-layer-last': number(
      'W',
      'what the loss at the last layer is multiplied by; default 1',
      'adaptiveLayer.lastLayerWeight',
    ),
    'adaptive-layer-prior': number(
      'W',
      'what the mean of the losses at the others is multiplied by; default 1',
      'adaptiveLayer.priorLayersWeight',
    ),
    'adaptive-layer-kl': number(
      'W',
      'what their divergence from the last layer is multiplied by; default 1',
      'adaptiveLayer.klWeight',
    ),
    'adaptive-layer-kl-temperature': number(
      'T',
      'the temperature of that divergence; 0: none; default 0.3',
      'adaptiveLayer.klTemperature',
    ),
    memory: number(
      'ROWS',
      'positives of earlier batches that are candidates too; default none',
      'memory.capacity',
    ),
    'memory-start': number('STEPS', 'steps before the first batch is kept; default 0', 'memory.start'),
    'memory-momentum': number(
      'M',
      'fill the memory by a slow copy of the model: M of its weights stay at each update; default none',
      'memory.momentum',
    ),
  },
  Optimisation: {
    epochs: number('N', 'passes over the data; default 1', 'epochs'),
    steps: number('N', 'updates, in place of epochs', 'steps'),
    optimizer: {
      ...text('NAME', choiceHelp(OPTIMIZERS, DEFAULT_OPTIMIZER), 'optimizer.kind'),
      choices: Object.keys(OPTIMIZERS),
    },
    ...flagsOf('optimizer', OPTIMIZERS),
    schedule: text('KIND', 'linear (default), cosine or constant', 'schedule.kind'),
    warmup: number('N', 'steps, or a part of all steps (rounded up) below 1; default 0.1', 'schedule.warmup'),
    dropout: number('P', "default: the model's", 'dropout'),
    frozen: list(
      'A,B,C',
      'parameters to leave as they are: names, or beginnings of names up to a dot, with * for any\ncharacters; layers.0-5 for the first six layers',
      'frozen',
    ),
    'embedding-gradients': text(
      'KIND',
      'dense (default), or rows: the table of word vectors has gradients and moments of the rows alone that\ntexts have',
      'embeddingGradients',
    ),
    'master-weights': text(
      'WHERE',
      'float32 weights of a run in bfloat16: on the device (default), on the host with the moments, or none:\nweights of bfloat16, rounded by chance',
      'masterWeights',
    ),
    'lora-rank': number('N', 'train low-rank adapters of this rank in place of the model', 'lora.rank'),
    'lora-alpha': number('N', 'what they add is multiplied by N / rank; default: the rank', 'lora.alpha'),
    'lora-dropout': number('P', 'dropout of what enters them; default 0', 'lora.dropout'),
    'lora-target-modules': list(
      'A,B,C',
      'the layers that get one: ends of their names, or all-linear; default: queries and values',
      'lora.targetModules',
    ),
    'lora-layers': numbers('N,N', 'only in these layers, counted from 0', 'lora.layers'),
    'lora-rank-stabilized': onOff('multiply by alpha / sqrt(rank) (rsLoRA)', 'lora.rankStabilized'),
    'lora-modules-to-save': list(
      'A,B,C',
      'modules of the model that are trained as a whole beside them',
      'lora.modulesToSave',
    ),
    'lora-bias': text('KIND', 'biases that are trained: none (default), all or lora_only', 'lora.bias'),
    seed: number('N', 'default 1; the same seed gives the same run', 'seed'),
  },
  'Evaluation and checkpoints': {
    ...EVALUATION_FLAGS,
    ...CHECKPOINT_FLAGS,
  },
  Watching: WATCH_FLAGS,
};
