// A part of `npm run lint`: lib/addon/interface.ts has the digest of what lib/addon/native.ts declares of the addon. The
// addon is compiled with it, and the loader refuses one that was compiled for other declarations.
//   node scripts/addon-interface.mjs [--write]       --write renews the digest; the addon is then compiled again
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Failure, main, root } from './tools.mjs';

const PLACE = join(root, 'lib', 'addon', 'interface.ts');

/** The types of lib/addon/native.ts without their comments, as TypeScript prints them. */
export async function declaredInterface(
  text = readFileSync(join(root, 'lib', 'addon', 'native.ts'), 'utf8'),
) {
  const { default: ts } = await import('typescript');
  const file = ts.createSourceFile('native.ts', text, ts.ScriptTarget.Latest);
  const printer = ts.createPrinter({ removeComments: true });
  return file.statements
    .filter((statement) => ts.isInterfaceDeclaration(statement) || ts.isTypeAliasDeclaration(statement))
    .map((statement) => printer.printNode(ts.EmitHint.Unspecified, statement, file))
    .join('\n');
}

/** @throws Failure where the digest is that of other declarations */
export async function checkInterface({ write = false } = {}) {
  const digest = createHash('sha256')
    .update(await declaredInterface())
    .digest('hex')
    .slice(0, 16);
  const text = readFileSync(PLACE, 'utf8');
  const renewed = text.replace(/(INTERFACE = ')[0-9a-f]*'/, `$1${digest}'`);
  if (renewed === text) return;
  if (!write)
    throw new Failure(
      'lib/addon/native.ts declares another addon than lib/addon/interface.ts has the digest of: ' +
        'node scripts/addon-interface.mjs --write',
    );
  writeFileSync(PLACE, renewed);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await main(() => checkInterface({ write: process.argv.includes('--write') }));
}
