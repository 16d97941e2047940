import { COLOURS } from './sections/run-name.js';

/** How a page looks, in light and in dark, on a phone and on a desk. */
export const STYLE = `
:root { color-scheme: light dark; --page: #f7f7f5; --card: #ffffff; --ink: #1b2127; --soft: #57616b; --rule: #dfdfda;
  --good: #0a6b3d; --bad: #a3330f; --link: #0b5fad;
  --run-0: #0b6e69; --run-1: #c2571a; --run-2: #5b4bb5; --run-3: #a8336f; --run-4: #2f6fb3; --run-5: #7a6a00; --run-6: #4d7a22; --run-7: #6b6f76; }
@media (prefers-color-scheme: dark) {
  :root { --page: #13171b; --card: #1b2126; --ink: #e8eaec; --soft: #a3adb7; --rule: #323a41;
    --good: #5fd39a; --bad: #f2936f; --link: #7db7f2;
    --run-0: #4cc5b9; --run-1: #f0935a; --run-2: #a79bf0; --run-3: #e58abb; --run-4: #79b3ec; --run-5: #d6c24a; --run-6: #9bcf6a; --run-7: #aab0b8; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, -apple-system, 'Segoe UI', 'Noto Sans', 'DejaVu Sans', sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 32px 20px 24px; }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 19px; margin: 0 0 12px; }
h3 { font-size: 16px; margin: 16px 0 8px; }
p { margin: 0 0 12px; }
small, dt, #state, footer, .content > p { color: var(--soft); }
section { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 20px; margin-top: 16px; }
section[hidden] { display: none; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(170px, 1fr)); gap: 16px 20px; margin: 0; }
.figures dt { font-size: 14px; }
.figures dd { margin: 0; font-size: 18px; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 340px), 1fr)); gap: 24px; }
.chart { margin: 0; min-width: 0; }
.chart figcaption { display: flex; justify-content: space-between; gap: 12px; align-items: baseline; font-size: 15px; font-weight: 600; }
.chart figcaption span { overflow-wrap: anywhere; }
.chart .reading { font-weight: 400; font-size: 14px; color: var(--soft); font-variant-numeric: tabular-nums; text-align: right; min-height: 1.5em; }
.chart .plot { height: 190px; }
.chart .mean { font-size: 13px; color: var(--soft); margin: 0; }
.uplot { font: inherit; }
.u-cursor-x, .u-cursor-y { border-color: var(--soft) !important; }
.u-select { background: color-mix(in srgb, var(--soft) 25%, transparent); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 20px; }
.run { display: inline-flex; align-items: baseline; gap: 8px; overflow-wrap: anywhere; }
.run i { flex: none; width: 12px; height: 12px; border-radius: 50%; }
${Array.from({ length: COLOURS }, (_, number) => `.run-${number} { background: var(--run-${number}); }`).join('\n')}
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 15px; }
th, td { text-align: left; vertical-align: top; padding: 7px 20px 7px 0; border-top: 1px solid var(--rule); }
thead :is(th, td) { border-top: 0; padding-top: 0; color: var(--soft); font-weight: 500; }
tbody th { font-weight: 500; white-space: nowrap; }
td { font-variant-numeric: tabular-nums; }
tbody td { min-width: 90px; max-width: 46ch; overflow-wrap: anywhere; }
.better { color: var(--good); } .worse { color: var(--bad); } .same { color: var(--soft); }
details { margin-top: 12px; } details:first-child { margin-top: 0; }
summary { cursor: pointer; padding: 6px 0; }
details[open] > summary { margin-bottom: 6px; }
:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 340px), 1fr)); gap: 14px; list-style: none; margin: 0; padding: 0; }
.cards li { border: 1px solid var(--rule); border-radius: 8px; padding: 12px 14px; overflow-wrap: anywhere; min-width: 0; }
.cards .text { color: var(--ink); font-weight: 600; margin: 0 0 6px; }
.cards dl { margin: 0; font-size: 15px; }
.cards dt { font-size: 13px; margin-top: 6px; }
.cards dt.right { color: var(--good); } .cards dt.wrong { color: var(--bad); }
.cards dd { margin: 0; }
.list { margin: 8px 0 4px; }
ul { margin: 0; padding-left: 20px; overflow-wrap: anywhere; }
footer { max-width: 1180px; margin: 0 auto; padding: 0 20px 32px; font-size: 14px; }
@media (max-width: 600px) {
  main { padding: 20px 12px 12px; } section { padding: 16px 14px; border-radius: 8px; }
  .figures { grid-template-columns: repeat(2, minmax(0, 1fr)); } .figures dd { font-size: 16px; }
  th, td { padding-right: 14px; } tbody th { white-space: normal; }
}
`;
