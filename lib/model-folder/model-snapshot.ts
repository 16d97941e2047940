/** A model as it was at one moment, in host memory. */
export interface ModelSnapshot {
  /**
   * Writes the model as `save` would have done at that moment. Training may go on meanwhile.
   *
   * @throws GradCacheError `INPUT` when the folder cannot be written
   */
  save(folder: string): Promise<void>;
}
