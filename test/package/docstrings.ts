import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';
import { root } from '../training/support.js';

/** A function or class of the package, and the examples in its documentation. */
export interface Documented {
  readonly name: string;
  readonly examples: readonly string[];
}

/** Every function and class that the package exports. */
export function documentedExports(): Documented[] {
  return parsed('index.ts').statements.flatMap((statement) => {
    if (!ts.isExportDeclaration(statement) || statement.isTypeOnly) return [];
    const from = (statement.moduleSpecifier as ts.StringLiteral).text;
    const { elements } = statement.exportClause as ts.NamedExports;
    return elements
      .filter(({ isTypeOnly, propertyName }) => !isTypeOnly && propertyName === undefined)
      .map(({ name }) => ({ name: name.text, examples: examplesIn(commentOf(name.text, from)) }));
  });
}

const PRELUDE = `
declare const [model, encoder, teacher]: [TextEncoder, TextEncoder, TextEncoder];
declare const reranker: CrossEncoder;
declare const languageModel: LanguageModel;
declare const gradcache: GradCache<any>; // of towers of any kind
declare const inputs: any;
declare const optimizer: AdamW;
declare const loss: SCCLLoss;
declare const segments: Segment[];
declare const [a, b, scores, weights, representations]: [Tensor, Tensor, Tensor, Tensor, Tensor];
declare const [texts, translations, captions, files]: [string[], string[], string[], string[]];
declare const [anchors, positives, negatives, first, second]: [string[], string[], string[], string[], string[]];
declare const [queries, documents, answers]: [string[], string[], string[]];
declare const [seed, step]: [number, number];
`;

/** An example as a module of its own: what the reader has already is declared. */
export function asModule(example: string): string {
  const names = new Set(`${PRELUDE}${example}`.match(/\b[A-Za-z]\w*\b/g));
  const exported = [...exportedNames()].filter((name) => names.has(name));
  return `import { ${exported.join(', ')} } from 'gradcache';\n${PRELUDE}{\n${example}\n}\n`;
}

/** The names of everything that the package exports, types too. */
function exportedNames(): Set<string> {
  return new Set(
    parsed('index.ts').statements.flatMap((statement) =>
      ts.isExportDeclaration(statement) && statement.exportClause !== undefined
        ? (statement.exportClause as ts.NamedExports).elements.map(({ name }) => name.text)
        : [],
    ),
  );
}

/** The documentation of what a file of lib/ exports by a name, itself or from another file. */
function commentOf(name: string, from: string): string {
  const file = parsed(from);
  for (const statement of file.statements) {
    const isIt =
      (ts.isFunctionDeclaration(statement) || ts.isClassDeclaration(statement)) &&
      statement.name?.text === name;
    if (isIt)
      return ts
        .getJSDocCommentsAndTags(statement)
        .map((each) => each.getText(file))
        .join('\n');
    if (!ts.isExportDeclaration(statement) || statement.exportClause === undefined) continue;
    const { elements } = statement.exportClause as ts.NamedExports;
    if (elements.some((element) => element.name.text === name))
      return commentOf(name, join(from, '..', (statement.moduleSpecifier as ts.StringLiteral).text));
  }
  throw new Error(`${name} is not in ${from}`);
}

function examplesIn(comment: string): string[] {
  const text = comment.replaceAll(/^ *\* ?/gm, '');
  return [...text.matchAll(/^```ts\n(.*?)^```/gms)].map(([, code]) => code!);
}

const files = new Map<string, ts.SourceFile>();

function parsed(from: string): ts.SourceFile {
  const path = join(root, 'lib', from.replace(/\.js$/, '.ts'));
  const known = files.get(path);
  if (known !== undefined) return known;
  const file = ts.createSourceFile(path, readFileSync(path, 'utf8'), ts.ScriptTarget.Latest, true);
  files.set(path, file);
  return file;
}
