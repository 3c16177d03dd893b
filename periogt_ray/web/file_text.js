// From the bytes of a file to its text: UTF-8, UTF-16 with a byte-order mark, gzip; anything else is refused by name.

const MOST_BYTES = 64 * 2 ** 20;
const SNIFFED_BYTES = 4096;
const GZIP = [0x1f, 0x8b];
// Signatures from the specifications of the formats.
const FORMATS = [
  { start: [0x50, 0x4b, 0x03, 0x04], what: "a zip archive or an Excel workbook (.xlsx)", todo: "Open it where it was made and save it as CSV UTF-8." },
  { start: [0xd0, 0xcf, 0x11, 0xe0], what: "an old Excel workbook (.xls)", todo: "Open it where it was made and save it as CSV UTF-8." },
  { start: [0x50, 0x41, 0x52, 0x31], what: "a Parquet file", todo: "Save it as CSV." },
  { start: [0x25, 0x50, 0x44, 0x46], what: "a PDF document", todo: "Save its table as CSV." },
  { start: [0x42, 0x5a, 0x68], what: "compressed by bzip2", todo: "Unpack it: bunzip2 FILE." },
  { start: [0xfd, 0x37, 0x7a, 0x58, 0x5a], what: "compressed by xz", todo: "Unpack it: unxz FILE." },
];

/** A file that cannot be used. `kind` is for programs and is one of those of the shared cases; the message is for the user. */
export class FileError extends Error {
  constructor(kind, message) {
    super(message);
    this.name = "FileError";
    this.kind = kind;
  }
}

/**
 * Read the text of a file.
 * @param {File|Blob} file
 * @param {string} name - for messages
 * @returns {Promise<{text: string, encoding: string, isPacked: boolean}>}
 */
export async function readText(file, name) {
  if (file.size > MOST_BYTES) throw tooLarge(name, file.size);
  const given = new Uint8Array(await file.arrayBuffer());
  const isPacked = startsWith(given, GZIP);
  const bytes = isPacked ? await unpacked(given, name) : given;
  const what = isPacked ? `The content of ${name}` : name;
  refuseOtherFormats(bytes, what);
  return { ...decoded(bytes, what), isPacked };
}

const startsWith = (bytes, start) => start.every((byte, i) => bytes[i] === byte);

function tooLarge(name, n_bytes) {
  return new FileError("format", `${name} has ${Math.round(n_bytes / 2 ** 20)} MB; at most 64 MB are read here. Use \`periogt batch\` for larger files.`);
}

/** Unpack gzip. The size is looked at on the way: a small file can hold very much. */
async function unpacked(bytes, name) {
  if (typeof DecompressionStream === "undefined") throw new FileError("format", `${name} is compressed by gzip, which this browser does not unpack. Unpack it: gunzip FILE.`);
  const pieces = [];
  let n_bytes = 0;
  try {
    const reader = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip")).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      n_bytes += value.length;
      if (n_bytes > MOST_BYTES) {
        reader.cancel();
        throw tooLarge(`${name}, unpacked,`, n_bytes);
      }
      pieces.push(value);
    }
  } catch (error) {
    if (error instanceof FileError) throw error;
    throw new FileError("format", `${name} is compressed by gzip and is damaged or has several parts. Unpack it: gunzip FILE; then choose the unpacked file.`);
  }
  return new Uint8Array(await new Blob(pieces).arrayBuffer());
}

function refuseOtherFormats(bytes, name) {
  if (startsWith(bytes, GZIP)) throw new FileError("format", `${name} is compressed by gzip once more. Unpack it: gunzip FILE.`);
  const found = FORMATS.find(({ start }) => startsWith(bytes, start));
  if (found) throw new FileError("format", `${name} is ${found.what}, not CSV. ${found.todo}`);
}

function decoded(bytes, name) {
  if (startsWith(bytes, [0xff, 0xfe, 0, 0]) || startsWith(bytes, [0, 0, 0xfe, 0xff])) throw notUtf8(name, "UTF-32", "UTF-32");
  const wide = { "255,254": "utf-16le", "254,255": "utf-16be" }[bytes.slice(0, 2)];
  const order = wide ? null : orderOfUnmarkedUtf16(bytes);
  if (order) throw notUtf8(name, `UTF-16 without a byte-order mark (${order})`, order);
  const text = strict(bytes, wide ?? "utf-8");
  if (text === null && strict(bytes, wide ?? "utf-8", { stream: true }) !== null) {
    throw new FileError("encoding", `${name} ends in the middle of a character; it is probably not whole. Copy it again.`);
  }
  if (text === null) throw wide ? notUtf8(name, "damaged UTF-16", "UTF-16") : notUtf8(name, `probably Windows-1252 or Latin-1 (see line ${firstBadLine(bytes)})`, "WINDOWS-1252");
  if (text.includes("\0")) throw new FileError("encoding", `${name} is not text: it holds characters of value 0. Choose a CSV file.`);
  return { text, encoding: wide ? "UTF-16" : "UTF-8" };
}

function strict(bytes, encoding, options = {}) {
  try {
    return new TextDecoder(encoding, { fatal: true }).decode(bytes, options);
  } catch {
    return null;
  }
}

function notUtf8(name, seen, from) {
  return new FileError("encoding", `${name} is not UTF-8 but ${seen}. Save it as UTF-8, for example: iconv -f ${from} -t UTF-8 FILE > NEW-FILE.`);
}

function firstBadLine(bytes) {
  const [before] = new TextDecoder("utf-8").decode(bytes).split("\ufffd", 1);
  return before.split(/\r\n?|\n/).length;
}

/** Text of Latin letters in UTF-16 has a 0 in every second byte; null if it is not like that. */
function orderOfUnmarkedUtf16(bytes) {
  const sniffed = bytes.subarray(0, SNIFFED_BYTES);
  const n_pairs = sniffed.length >> 1;
  const n_zeros = [0, 0];
  for (let i = 0; i < 2 * n_pairs; i += 1) if (sniffed[i] === 0) n_zeros[i % 2] += 1;
  const [even, odd] = n_zeros;
  if (odd > 0.4 * n_pairs && even < 0.1 * n_pairs) return "UTF-16LE";
  if (even > 0.4 * n_pairs && odd < 0.1 * n_pairs) return "UTF-16BE";
  return null;
}
