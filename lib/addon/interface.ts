/**
 * Digest of what native.ts declares of the addon. The addon has the one that it was compiled with. `npm run format` renews
 * it, and `npm run lint` sees that it is renewed.
 */
export const INTERFACE = 'e7d211902089e8f5';
