import { join } from 'node:path';
import { GradCacheError } from '../errors.js';
import { faultIn, refusedIn } from '../files/file-fault.js';
import { readJsonObject } from '../files/json-file.js';
import type { KeptKeys } from '../files/key-table.js';
import { isJsonObject } from '../files/strict-json.js';
import { show } from '../options/option-values.js';
import type { TextTask } from './late-interaction.js';

/** The file of a Router's own, with the modules of each route. */
export const ROUTER_CONFIG = 'router_config.json';
/** The class of releases from 5 on, and its name before. */
const ROUTERS: readonly string[] = ['Router', 'Asym'];

/** An entry of modules.json, whose path stays in the folder. */
export interface StatedModule extends KeptKeys {
  readonly type: string;
  readonly path: string;
}

/** The class of a module, without its package. */
export const classNameOf = ({ type }: StatedModule): string => type.slice(type.lastIndexOf('.') + 1);

/** Whether a module is a Router, which has other modules for queries than for documents. */
export const isRouter = (module: StatedModule): boolean => ROUTERS.includes(classNameOf(module));

/**
 * The modules of a route, as entries of modules.json in the Router's place.
 *
 * @param folder the model's
 * @throws GradCacheError `INPUT` where no route is asked for; `CHECKPOINT` for a Router without it
 */
export async function entriesOfRoute(
  folder: string,
  router: StatedModule,
  route: TextTask | undefined,
): Promise<StatedModule[]> {
  const inside = join(folder, router.path);
  const path = join(inside, ROUTER_CONFIG);
  // Releases before 5 put the same into config.json.
  const config = (await readJsonObject(path)) ?? (await readJsonObject(join(inside, 'config.json')));
  const { types, structure } = config ?? {};
  if (!isJsonObject(types) || !isJsonObject(structure))
    throw faultIn(path, 'it lacks the modules of the routes');
  if (route === undefined)
    throw new GradCacheError(
      'INPUT',
      `route is undefined, and ${folder} has a Router with the routes ${Object.keys(structure).join(', ')}; 'query' or ` +
        "'document' is needed: each is loaded as an encoder of its own.",
    );
  const names = structure[route];
  if (!Array.isArray(names)) throw refusedIn(path, `structure.${route}`, names, 'a list of modules');
  return names.map((name: unknown): StatedModule => {
    const type = typeof name === 'string' && Object.hasOwn(types, name) ? types[name] : undefined;
    if (typeof type !== 'string')
      throw faultIn(path, `its route ${route} names the module ${show(name)}, which has no type`);
    return { type, path: join(router.path, name as string) };
  });
}

/** A module in a folder of its own. */
export interface RoutedModule {
  readonly folder: string;
  readonly type: string;
}

/** What the Router of a saved model says. @param routes the modules of each route, by the names of their folders */
export function routerConfig(
  routes: Readonly<Record<TextTask, readonly RoutedModule[]>>,
): Record<string, unknown> {
  const all = [...routes.query, ...routes.document];
  return {
    types: Object.fromEntries(all.map(({ folder, type }) => [folder, type])),
    structure: Object.fromEntries(
      Object.entries(routes).map(([route, modules]) => [route, modules.map(({ folder }) => folder)]),
    ),
    parameters: { default_route: 'document', allow_empty_key: true },
  };
}
