// The driver's side of the protocol in README.md, for the clients written in JavaScript.
//
// A driver is an object with one method an operation; `serve` reads requests from standard input,
// calls the method named by `op` with the request's other fields, and prints what it returns.

import { createInterface } from 'node:readline'

/** The node answered with an error: Kafka's code (null where the client hides it). */
export class Refused extends Error {
  constructor(code, text) {
    super(text)
    this.kafkaCode = code
  }
}

/** The client offers no such thing. */
export class Unsupported extends Error {}

/** Answers requests, one after the other, until standard input ends. */
export async function serve(driver) {
  // A client's background work may fail at any time; what matters fails an operation too.
  process.on('unhandledRejection', (error) => console.error(`in the background: ${error}`))
  for await (const line of createInterface({ input: process.stdin })) {
    const { op, ...request } = JSON.parse(line)
    console.log(JSON.stringify(await answer(() => driver[op](request))))
  }
  process.exit(0)
}

async function answer(operation) {
  try {
    return { ok: (await operation()) ?? null }
  } catch (error) {
    if (error instanceof Unsupported) {
      return { skip: error.message }
    }
    return { error: { code: kafkaCode(error), text: String(error.stack ?? error).slice(0, 600) } }
  }
}

/** Kafka's error code, wherever in an error (or the errors inside it) a client keeps it. */
function kafkaCode(error) {
  const own = [error.kafkaCode, error.apiCode, error.code, error.errorCode]
  const inner = [...(error.errors ?? []), ...(error.groups ?? []), error.cause, error.error]
  const codes = [...own, ...inner.filter(Boolean).map(kafkaCode)]
  return codes.find((code) => Number.isInteger(code)) ?? null
}

/** Waits until a condition holds or the time is over. */
export async function until(milliseconds, condition) {
  const deadline = Date.now() + milliseconds
  while (!condition() && Date.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

/** Bytes from hexadecimal text. */
export const bytesOrNull = (text) => (text === null ? null : Buffer.from(text, 'hex'))

/** Hexadecimal text from bytes. */
export const hexOrNull = (bytes) => (bytes == null ? null : Buffer.from(bytes).toString('hex'))
