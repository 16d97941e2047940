import { GradCacheError } from '../errors.js';
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
export async function saveTextModel(folder: string, { model, vocabulary }: TextModel): Promise<void> {
  await replaceFolder(folder, {
    write: async (target) => {
      await model.save(target);
      await vocabulary.save(target);
    },
    recognise: holdsLanguageModel,
    belongs: (name) => isPartOfLanguageModel(name) || isPartOfVocabulary(name),
  });
}
