/** Whether a PostgreSQL driver can read it as a URL: port in range, user and password percent-encoded (RFC 3986). */
export function isPostgresUrl(text: string): boolean {
  if (!/^postgres(ql)?:\/\//.test(text) || !URL.canParse(text)) return false;
  const { username, password, pathname } = new URL(text);
  return [username, password, pathname].every(isDecodable);
}

/** `host:port/database`, for comparing; null when it is no URL or says where in another way. */
export function databaseOf(url: string): string | null {
  if (!isPostgresUrl(url)) return null;
  const { hostname, port, pathname } = new URL(url);
  return hostname === '' || pathname.length < 2 ? null : `${hostname.toLowerCase()}:${port || '5432'}${pathname}`;
}

/** `host:port`, an IPv6 address in brackets. */
export function isBroker(text: string): boolean {
  const port = /^(?:\[[0-9A-Fa-f:.]+\]|[^\s,/:@[\]]+):(\d{1,5})$/.exec(text)?.[1];
  return port !== undefined && Number(port) >= 1 && Number(port) <= 65_535;
}

function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}
