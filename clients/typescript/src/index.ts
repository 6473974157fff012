export { Client } from "./client.js";
export { CallHistoryError } from "./errors.js";
export type { ErrorKind } from "./errors.js";
export type { components, operations, paths } from "./contract.js";
export type * from "./types.js";
