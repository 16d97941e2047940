import { GradCacheError } from '../errors.js';
import type { ModelSnapshot } from '../model-folder/model-snapshot.js';
import { replaceFolder } from '../files/replace-folder.js';
import { holdsLanguageModel, isPartOfLanguageModel } from './language-model-folder.js';
import { LanguageModel, type LanguageModelOptions } from './language-model.js';
import { isPartOfVocabulary, readVocabulary, type Vocabulary } from './vocabulary.js';

/** A language model with what its tokens are, as a run trains it and a folder holds it. */
export interface TextModel {
  readonly model: LanguageModel;
  readonly vocabulary: Vocabulary;
}

/** Reads a folder that {@link saveTextModel} wrote. @throws GradCacheError `CHECKPOINT`, and as {@link LanguageModel.load} */
export async function loadTextModel(folder: string, options: LanguageModelOptions): Promise<TextModel> {
  const vocabulary = await readVocabulary(folder);
  const model = await LanguageModel.load(folder, options);
  const { settings } = model;
  if (settings.vocabulary === vocabulary.size) return { model, vocabulary };
  model.dispose();
  throw new GradCacheError(
    'CHECKPOINT',
    `${folder} has a model of ${settings.vocabulary} tokens and a vocabulary of ${vocabulary.size}: they are not of one model.`,
  );
}

/** Writes a model with its vocabulary: the folder is written beside, then renamed; what else it held stays. */
export async function saveTextModel(folder: string, text: TextModel): Promise<void> {
  await (await snapshotOfText(text)).save(folder);
}

/** The model as it is now, which {@link ModelSnapshot.save} writes as {@link saveTextModel} does. */
export async function snapshotOfText({ model, vocabulary }: TextModel): Promise<ModelSnapshot> {
  const copy = await model.snapshot();
  return {
    save: (folder) =>
      replaceFolder(folder, {
        write: async (target) => {
          await copy.save(target);
          await vocabulary.save(target);
        },
        recognise: holdsLanguageModel,
        belongs: (name) => isPartOfLanguageModel(name) || isPartOfVocabulary(name),
      }),
  };
}
