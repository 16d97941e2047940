import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { call, callAsync, schema, Tensor, tidy } from '../../../lib/index.js';
import { loadedLibtorch } from '../../../lib/addon/native.js';
import { argumentsOf, randomArgument } from '../random-arguments.js';
import type { Target } from '../target.js';

/** Private ones trust their caller, from Python as well: a name with an underscore before it, or a half of a backward. */
const PRIVATE = /^aten::_|_backward|_jvp/;

/** All overloads of libtorch's public operators, as its headers list them. */
function publicOperators(): string[] {
  const folder = join(loadedLibtorch().libtorch.folder, 'include', 'ATen', 'ops');
  const found: string[] = [];
  for (const file of readdirSync(folder)) {
    if (!file.endsWith('_ops.h')) continue;
    const text = readFileSync(join(folder, file), 'utf8');
    for (const [, name, overload] of text.matchAll(/\bname = "(.*?)";\s.*overload_name = "(.*?)";/g))
      if (!PRIVATE.test(name!)) found.push(overload === '' ? name! : `${name}.${overload}`);
  }
  return found;
}

/** Every public operator of libtorch. By hand alone: some of libtorch's own end the process, from Python as well. */
export const everyOperator: Target = {
  count: 0,
  prepare: () => {
    const operators = publicOperators();
    return (random, tell) => {
      const name = random.pick(operators);
      tell(name);
      tidy(() => {
        const list = argumentsOf(schema(name));
        const values = list.map(({ type }) => randomArgument(type, random));
        const positional = values.filter((_, place) => !list[place]!.keyword);
        const keywords = list.flatMap(({ keyword, name: key }, place) =>
          keyword ? [[key, values[place]]] : [],
        );
        if (random.next() < 0.5) {
          // Beside queued work, with views of what the operator may write, which could be that work's.
          void callAsync('aten::ones', [1]);
          const tensors = values.filter((value) => value instanceof Tensor && !value.disposed) as Tensor[];
          for (const tensor of tensors) tensor.detach();
        }
        call(name, ...positional, Object.fromEntries(keywords) as object);
      });
    };
  },
};
