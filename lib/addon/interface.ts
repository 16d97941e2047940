/**
 * Digest of what native.ts declares of the addon. The addon has the one that it was compiled with. `npm run format` renews
 * it, and `npm run lint` sees that it is renewed.
 */
export const INTERFACE = 'de9c5341a60c28e5';
