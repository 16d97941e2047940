/*
 * Names of what the classes of this folder ask of each other, and what a training run asks of them.
 */

/** Makes an encoder of a folder that was read. */
export const OF_FOLDER = Symbol('of folder');
/** Puts an encoder's weights among the tensors of a folder. */
export const STORE_INTO = Symbol('store into');
/** Reads pictures of which none may be left. */
export const READ = Symbol('read');
/** Tokenises captions and counts their tokens. */
export const COUNTED = Symbol('counted');
