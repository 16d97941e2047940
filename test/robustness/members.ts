/** The properties of a prototype and of those that it inherits from, but Object's. */
export function membersOf(prototype: object): Record<string, PropertyDescriptor> {
  const parent = Object.getPrototypeOf(prototype) as object | null;
  const inherited = parent === null || parent === Object.prototype ? {} : membersOf(parent);
  return { ...inherited, ...Object.getOwnPropertyDescriptors(prototype) };
}
