// Asking the service: the key, errors as the API words them, and what may be sent again.

const KEY_NAME = "periogt-key";

// What the service takes; a test compares them with its own bounds.
export const MOST_ITEMS = 100; // of a request
export const MOST_CHARACTERS = 2000; // of a SMILES

/** An error that the API answered with. */
export class ApiError extends Error {
  constructor(body, { status, retryAfter_s = null, requestId = "" }) {
    super(body.message);
    this.name = "ApiError";
    this.code = body.code;
    this.details = body.details ?? {};
    this.status = status;
    this.retryAfter_s = retryAfter_s;
    this.requestId = requestId;
  }

  /** Whether the same request may be answered later. */
  get isTransient() {
    return this.code === "overloaded" || this.code === "not_ready";
  }
}

/** No answer of the service came: it is down, or the way to it is. */
export class UnreachableError extends Error {
  constructor(message) {
    super(message);
    this.name = "UnreachableError";
  }
}

export class Api extends EventTarget {
  /**
   * @param {URL} root - where the page is; all addresses are relative to it
   * @param {(message: string) => Promise<string|null>} askForKey - null if the user does not give one
   */
  constructor(root, askForKey) {
    super();
    this.root = root;
    this.askForKey = askForKey;
    this.asking = null;
  }

  get key() {
    return sessionStorage.getItem(KEY_NAME);
  }

  set key(value) {
    if (value) sessionStorage.setItem(KEY_NAME, value);
    else sessionStorage.removeItem(KEY_NAME);
  }

  /**
   * Ask; on a 401 the user is asked for the key and the request sent again.
   * @param {string} path - relative to the root
   * @param {{body?: Object, signal?: AbortSignal, asks?: boolean, tells?: boolean, as?: "json"|"text"}} options - whether
   *   the user is asked for the key, and whether events tell how it went: those who ask because of such an event do not
   */
  async request(path, { body, signal, asks = true, tells = true, as = "json" } = {}) {
    for (;;) {
      const sentKey = this.key;
      let error;
      try {
        const response = await this.#send(path, body, signal, sentKey);
        if (response.ok) {
          const content = await this.#read(response, as);
          if (tells) this.dispatchEvent(new CustomEvent("answered"));
          return content;
        }
        error = await errorOf(response);
      } catch (failure) {
        error = failure;
      }
      if (error.name === "AbortError" || error.name === "TimeoutError") throw error;
      if (tells) this.dispatchEvent(new CustomEvent("failed", { detail: error }));
      if (!(error instanceof ApiError) || error.code !== "unauthorized" || !asks) throw error;
      // Another request may have got a key meanwhile.
      if (this.key === sentKey && !(await this.#newKey(error.message))) throw error;
    }
  }

  /** Have the user asked, once for all requests that wait. */
  async #newKey(message) {
    this.asking ??= this.askForKey(message).finally(() => { this.asking = null; });
    const key = await this.asking;
    if (key === null) return false;
    this.key = key;
    return true;
  }

  async #send(path, body, signal, key) {
    const headers = {};
    if (body !== undefined) headers["Content-Type"] = "application/json";
    // A header holds bytes: those of the key's UTF-8, one character each.
    if (key) headers["X-Api-Key"] = String.fromCharCode(...new TextEncoder().encode(key));
    const method = body === undefined ? "GET" : "POST";
    try {
      return await fetch(new URL(path, this.root), {
        method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body), cache: "no-store", credentials: "same-origin",
      });
    } catch (error) {
      throw lost(error);
    }
  }

  async #read(response, as) {
    try {
      return as === "text" ? await response.text() : await response.json();
    } catch (error) {
      throw lost(error);
    }
  }
}

/** Say in our words that a request was lost; one that was given up stays what it is. */
function lost(error) {
  if (error.name === "AbortError" || error.name === "TimeoutError") return error;
  return new UnreachableError("The service cannot be reached. Is it running, and is the tunnel to it open?");
}

async function errorOf(response) {
  let body;
  try {
    body = await response.json();
  } catch {
    body = null;
  }
  if (typeof body?.error?.code !== "string") {
    // Not our JSON: a proxy in between answers for a service that is not there.
    return new UnreachableError(`A program between this page and the service answered with status ${response.status}. Is the service running?`);
  }
  const retryAfter = Number.parseFloat(response.headers.get("Retry-After"));
  return new ApiError(body.error, {
    status: response.status,
    retryAfter_s: Number.isFinite(retryAfter) ? Math.max(0.2, retryAfter) : null,
    requestId: body.request_id,
  });
}
