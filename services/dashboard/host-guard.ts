import { isIP } from 'node:net';

const LOCAL: readonly string[] = ['127.0.0.1', 'localhost', '[::1]'];
const WILDCARDS: readonly string[] = ['0.0.0.0', '::'];

/**
 * Whether a Host header names this server. DNS rebinding gives a stranger's name our address, so names other than the
 * configured one are refused. A server bound to every address takes any literal address: rebinding needs a name.
 */
export function isOwnHost(header: string | undefined, configured: string): boolean {
  if (header === undefined) return false;
  const host = header.replace(/:\d+$/, '').toLowerCase();
  if (LOCAL.includes(host) || host === bracketed(configured)) return true;
  return WILDCARDS.includes(configured) && isIP(host.replace(/^\[(.*)\]$/, '$1')) !== 0;
}

/** As a URL has it: an IPv6 address in brackets. */
export function bracketed(host: string): string {
  return host.includes(':') ? `[${host}]` : host.toLowerCase();
}
