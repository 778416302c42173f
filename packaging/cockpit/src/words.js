// Numbers and moments in words.

const DAY = 86_400;
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const STEPS = [
  [365 * DAY, "year"],
  [30 * DAY, "month"],
  [DAY, "day"],
  [3_600, "hour"],
  [60, "minute"],
];

/** How long ago a moment was: `3 days ago`. */
export function ago(time, now = Date.now()) {
  const seconds = Math.max(0, (now - Date.parse(time)) / 1000);
  const [length, unit] = STEPS.find(([length]) => seconds >= length) ?? [];
  return unit ? relative.format(-Math.floor(seconds / length), unit) : "just now";
}

/** A moment in UTC, as the tool writes it, to the minute. */
export function moment(time) {
  return `${time.slice(0, 10)} ${time.slice(11, 16)} UTC`;
}

/** `3 warnings`, `1 warning`. */
export function count(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

/** Numbers as ranges: `1-3, 5`. */
export function ranges(numbers) {
  const parts = [];
  for (const number of [...numbers].sort((a, b) => a - b)) {
    const last = parts.at(-1);
    if (last && last[1] === number - 1) last[1] = number;
    else parts.push([number, number]);
  }
  return parts.map(([from, to]) => (from === to ? `${from}` : `${from}-${to}`)).join(", ");
}

/** What a device calls itself, as the tool's texts do. */
export function nameOf({ kind, label, manufacturer, model, firmware }) {
  if (kind === "tpm") return `TPM (${manufacturer} ${model}, firmware ${firmware})`;
  return `token ${label ?? ""} (${manufacturer} ${model})`;
}
