/** `scheme://user:password@`: the password goes on to the last @ before a slash, a blank or a quote, as URLs are read. */
const URL_PASSWORD = /([a-z][a-z0-9+.-]*:\/\/[^\s:@/"]*):(?:\\.|[^\s/"\\])*@/gi;
/** PostgreSQL takes a password as a parameter of the URL, and in `key=value` form, too. */
const PARAMETER = /\b((?:ssl)?password=)(?:'(?:\\.|[^'\\])*'|[^\s&"'\\]+)/gi;
/** A member of a JSON document, also of one that is text in another: its quotes have backslashes then. */
const MEMBER = /((\\*)"[a-z_]*(?:password|secret|token)[a-z_]*\2"\s*:\s*\2")(.*?)(?<!\\)\2"/gis;

/** A text for people or logs with every password in it replaced by `***` (invariant 8). */
export function hideSecrets(text: string): string {
  return text.replace(URL_PASSWORD, '$1:***@').replace(PARAMETER, '$1***').replace(MEMBER, '$1***$2"');
}
