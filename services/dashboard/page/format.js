const BYTE_UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });

export function bytes(value) {
  let rest = value;
  let unit = 0;
  while (rest >= 1_024 && unit < BYTE_UNITS.length - 1) {
    rest /= 1_024;
    unit += 1;
  }
  return `${rest < 10 && unit > 0 ? rest.toFixed(1) : whole.format(rest)} ${BYTE_UNITS[unit]}`;
}

export function count(value) {
  return whole.format(value);
}

export function rate(value) {
  return `${value > 0 && value < 10 ? value.toFixed(1) : whole.format(value)}/s`;
}

export function seconds(value) {
  if (value < 10) return `${value.toFixed(1)} s`;
  if (value < 120) return `${whole.format(value)} s`;
  return value < 7_200 ? `${whole.format(value / 60)} min` : `${whole.format(value / 3_600)} h`;
}
