/*
 * Names of what the classes of this folder ask of each other, and nobody else does.
 */

/** Makes an encoder of a folder that was read. */
export const OF_FOLDER = Symbol('of folder');
/** Puts an encoder's weights among the tensors of a folder. */
export const STORE_INTO = Symbol('store into');
