import { createRequire, isBuiltin } from 'node:module';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import vm from 'node:vm';

/**
 * Loads ES modules into a vm context of their own, as Jest and Vitest's vmThreads do: files by a relative path run inside,
 * Node's modules and packages come from outside. Needs `--experimental-vm-modules`.
 */
export class Realm {
  readonly #context: vm.Context;
  readonly #modules = new Map<string, vm.Module | Promise<vm.Module>>();

  /** @param names globals that are lent to the context, beside what the language itself has */
  constructor(names: readonly string[]) {
    const outside = globalThis as unknown as Record<string, unknown>;
    this.#context = vm.createContext(Object.fromEntries(names.map((name) => [name, outside[name]])));
  }

  /** Runs a program in the context; its imports are resolved from `url`. */
  async run(source: string, url: string): Promise<void> {
    const module = this.#compile(source, url);
    await module.link(this.#link);
    await module.evaluate();
  }

  #compile(source: string, url: string): vm.SourceTextModule {
    return new vm.SourceTextModule(source, {
      context: this.#context,
      identifier: url,
      initializeImportMeta: (meta) => {
        meta.url = url;
        meta.dirname = fileURLToPath(new URL('.', url));
      },
      importModuleDynamically: async (specifier: string) => {
        const module = await this.#load(specifier, url);
        if (module.status === 'unlinked') await module.link(this.#link);
        if (module.status === 'linked') await module.evaluate();
        return module;
      },
    });
  }

  readonly #link = (specifier: string, from: vm.Module): Promise<vm.Module> =>
    this.#load(specifier, from.identifier);

  async #load(specifier: string, from: string): Promise<vm.Module> {
    const inside = /^\.{0,2}\/|^file:/.test(specifier);
    const url = inside ? new URL(specifier, from).href : specifier;
    const known = this.#modules.get(url) ?? (inside ? this.#source(url) : this.#outside(url, from));
    this.#modules.set(url, known);
    return known;
  }

  #source(url: string): vm.Module {
    return this.#compile(readFileSync(fileURLToPath(url), 'utf8'), url);
  }

  async #outside(specifier: string, from: string): Promise<vm.Module> {
    const path = isBuiltin(specifier) ? specifier : createRequire(from).resolve(specifier);
    const exports = (await import(path)) as Record<string, unknown>;
    const names = Object.keys(exports);
    return new vm.SyntheticModule(
      names,
      function (this: vm.SyntheticModule) {
        for (const name of names) this.setExport(name, exports[name]);
      },
      { context: this.#context, identifier: specifier },
    );
  }
}
