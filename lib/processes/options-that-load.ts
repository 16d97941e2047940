/**
 * The options of Node that a thread or a child gets of those of this process: what decides where packages are found. Others, such as a
 * debugger's port or a program on the command line, are not for it.
 *
 * @param options default: those of this process
 */
export function optionsThatLoad(options: readonly string[] = process.execArgv): string[] {
  const passed: string[] = [];
  for (const [place, option] of options.entries()) {
    if (/^(-r|--require|--import|--loader|--experimental-loader|-C|--conditions)$/.test(option))
      passed.push(option, options[place + 1]!);
    else if (
      /^--(require|import|loader|experimental-loader|conditions)=/.test(option) ||
      /^--preserve-symlinks/.test(option)
    )
      passed.push(option);
  }
  return passed;
}
