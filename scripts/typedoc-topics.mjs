// A plugin of TypeDoc: the reference is grouped by topic, which is the room of lib/ that a name comes from, and a guide is called
// what its own heading says.
import { Comment, CommentTag, Converter } from 'typedoc';

/** The topic of what a folder of lib/ exports. `topicOf` refuses a folder that has none. */
const TOPICS = {
  step: 'The cached step',
  encoders: 'Encoders',
  tokenizer: 'Encoders',
  'model-folder': 'Encoders',
  images: 'Pictures',
  losses: 'Losses',
  optim: 'Optimizers and schedules',
  data: 'Data',
  mining: 'Hard negatives',
  evaluation: 'Evaluation',
  training: 'Training runs',
  report: 'Training runs',
  distributed: 'Several GPUs',
  language: 'Language models',
  'training/language': 'Language models',
  hub: 'Models and data by name',
  onnx: 'Serving and export',
  serve: 'Serving and export',
  safetensors: 'Tensors and memory',
  tensor: 'Tensors and memory',
  addon: 'Errors and set-up',
  errors: 'Errors and set-up',
  options: 'Evaluation',
};

/** Exports whose topic is another than that of their room. */
const ELSEWHERE = {
  LabelType: 'Data',
  push: 'Models and data by name',
  Pushed: 'Models and data by name',
  PushOptions: 'Models and data by name',
};

const GUIDES = 'Guides';

export function load(app) {
  app.converter.on(Converter.EVENT_CREATE_DOCUMENT, (_, document) => {
    const [first] = document.content;
    const heading = /^\s*# (.+)\n+/.exec(first?.text ?? '');
    if (heading === null) throw new Error(`the guide ${document.name} does not begin with a heading`);
    document.name = heading[1];
    first.text = first.text.slice(heading[0].length);
    document.frontmatter.category ??= GUIDES;
  });
  app.converter.on(Converter.EVENT_RESOLVE_BEGIN, ({ project }) => {
    for (const reflection of project.children ?? []) {
      reflection.comment ??= new Comment();
      // An alias has the topic of what it stands for.
      const target = reflection.isReference() ? reflection.getTargetReflectionDeep() : reflection;
      const topic = topicOf(reflection.name, project.getSymbolIdFromReflection(target)?.packagePath);
      reflection.comment.blockTags.push(new CommentTag('@category', [{ kind: 'text', text: topic }]));
    }
  });
}

function topicOf(name, path) {
  const folders = path?.split('/').slice(1);
  const topic =
    ELSEWHERE[name] ?? TOPICS[folders?.slice(0, 2).join('/')] ?? TOPICS[folders?.[0].replace(/\.ts$/, '')];
  if (topic === undefined)
    throw new Error(`${name} comes from ${path}, for which scripts/typedoc-topics.mjs has no topic`);
  return topic;
}
