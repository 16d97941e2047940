// A part of `npm run lint`: who imports whom in lib/ and native/. Arrows point down only: no circle between files, none
// between rooms. A room is a folder of lib/ or native/. ARCHITECTURE.md holds the graph that this draws.
//   node scripts/import-graph.mjs [--write]       --write puts the graph into ARCHITECTURE.md
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Failure, filesUnder, main, root } from './tools.mjs';

const PAGE = join(root, 'ARCHITECTURE.md');

/**
 * How a tree's files name what they import, and which unit a file belongs to: itself, or a header with its source. The
 * versions.h of a kernel, from which its source chooses, belongs to that kernel.
 */
const TREES = {
  lib: {
    files: /\.ts$/,
    imports: /\b(?:from|import\()\s*'(\.[^']+)'/g,
    resolve: (from, name) => normalize(join(dirname(from), name)),
    unit: (path) => path.replace(/\.[jt]s$/, ''),
  },
  native: {
    files: /\.(cc|h|cuh?)$/,
    imports: /^#include "([^"]+)"/gm,
    resolve: (_, name) => join('native', name),
    unit: (path) => path.replace(/\.(cc|h|cuh?)$/, '').replace(/(\w+)\/versions$/, '$1/$1'),
  },
};

/** Every unit of a tree with the units that it imports. */
function importsOf(tree) {
  const { files, imports, resolve, unit } = TREES[tree];
  const graph = new Map();
  for (const file of filesUnder([tree], files)) {
    const own = unit(file);
    const targets = graph.get(own) ?? new Set();
    graph.set(own, targets);
    for (const [, name] of readFileSync(join(root, file), 'utf8').matchAll(imports)) {
      const target = unit(resolve(file, name));
      if (target !== own) targets.add(target);
    }
  }
  return graph;
}

/** The same between rooms; a file at the tree's root is a room of its own. */
function betweenRooms(graph) {
  const room = (unit) => unit.split('/')[1];
  const rooms = new Map();
  for (const [unit, targets] of graph) {
    const own = rooms.get(room(unit)) ?? new Set();
    rooms.set(room(unit), own);
    for (const target of targets) if (room(target) !== room(unit)) own.add(room(target));
  }
  return rooms;
}

/** A walk along imports that ends where it began, or undefined. */
function circleIn(graph) {
  const done = new Set();
  const path = [];
  const visit = (node) => {
    if (path.includes(node)) return [...path.slice(path.indexOf(node)), node];
    if (done.has(node)) return undefined;
    path.push(node);
    for (const next of graph.get(node) ?? []) {
      const circle = visit(next);
      if (circle !== undefined) return circle;
    }
    path.pop();
    done.add(node);
    return undefined;
  };
  for (const node of graph.keys()) {
    const circle = visit(node);
    if (circle !== undefined) return circle;
  }
  return undefined;
}

/** A line for each room, above all rooms that it imports. What a room imports by way of another is left out. */
function draw(rooms) {
  const below = new Map();
  const reach = (room) => {
    if (!below.has(room)) {
      const all = new Set(rooms.get(room));
      for (const next of rooms.get(room) ?? []) for (const each of reach(next)) all.add(each);
      below.set(room, all);
    }
    return below.get(room);
  };
  const level = (room) => Math.max(-1, ...[...(rooms.get(room) ?? [])].map(level)) + 1;
  const direct = (room) =>
    [...rooms.get(room)].filter((next) => ![...rooms.get(room)].some((other) => reach(other).has(next)));
  const width = Math.max(...[...rooms.keys()].map((room) => room.length));
  return [...rooms.keys()]
    .sort((a, b) => level(b) - level(a) || (a < b ? -1 : 1))
    .map((room) => `${room.padEnd(width)}  ${direct(room).sort().join(' ')}`.trimEnd())
    .join('\n');
}

/** @throws Failure naming a circle, or where ARCHITECTURE.md shows another graph */
export function checkImports({ write = false } = {}) {
  let page = readFileSync(PAGE, 'utf8');
  for (const tree of Object.keys(TREES)) {
    const files = importsOf(tree);
    const rooms = betweenRooms(files);
    const circle = circleIn(files) ?? circleIn(rooms);
    if (circle !== undefined) throw new Failure(`imports go in a circle: ${circle.join(' -> ')}`);
    const block = new RegExp(`(<!-- imports of ${tree} -->\n+\`\`\`text\n)[^\`]*(\n\`\`\`)`);
    if (!block.test(page)) throw new Failure(`ARCHITECTURE.md has no place for the imports of ${tree}`);
    page = page.replace(block, (_, before, after) => before + draw(rooms) + after);
  }
  if (page === readFileSync(PAGE, 'utf8')) return;
  if (!write) throw new Failure('ARCHITECTURE.md shows other imports: node scripts/import-graph.mjs --write');
  writeFileSync(PAGE, page);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await main(() => checkImports({ write: process.argv.includes('--write') }));
}
