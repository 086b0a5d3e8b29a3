import type pg from 'pg';

/**
 * The same session, for loops that share it: each query waits for those before it, whatever becomes of them. Statements alone, for a
 * transaction of one loop would take in the others' queries. What is no query of its own, such as a COPY's stream, goes through at once.
 */
export function inTurn<C extends Pick<pg.ClientBase, 'query'>>(client: C): C {
  const send = client.query.bind(client) as (...given: unknown[]) => unknown;
  let before: Promise<unknown> = Promise.resolve();
  const query = (...given: unknown[]): unknown => {
    const [first] = given;
    if (typeof first === 'object' && first !== null && 'submit' in first) return send(...given);
    const answer = before.then(() => send(...given));
    before = answer.catch(() => undefined);
    return answer;
  };
  return Object.assign(client, { query });
}
