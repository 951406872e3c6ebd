/** The files of a case: slices compressed one by one (zlib), fetched as byte ranges, nearest to what is looked at first. */

const BYTES_AT_ONCE = 262144;
const WHOLE_FILE_BYTES = 65536; // so small that fetching a part is not worth it
const REQUESTS_AT_ONCE = 4;

/** The server's answer was no picture; status: of the answer, 0 where there was none; kind: of the file, if it is one of a case's. */
export class LoadError extends Error {
  constructor(status, kind = null) {
    super(`the pictures could not be loaded (${status})`);
    Object.assign(this, { status, kind });
  }
}

/** One .bin file as a volume; voxels of slices that are not there yet are 0. */
export class SliceFile {
  /** kind: "image", "segmentation" or "error map"; part: what viewer.json says of the file; voxels: of one slice; bytes: of one voxel, 1 or 2. */
  constructor(kind, url, part, voxels, bytes) {
    this.kind = kind;
    this.url = url;
    this.starts = part.starts;
    this.voxels = voxels;
    this.bytes = bytes;
    this.count = part.starts.length - 1;
    this.volume = bytes === 2 ? new Uint16Array(this.count * voxels) : new Uint8Array(this.count * voxels);
    this.isLoaded = new Uint8Array(this.count);
    this.isAsked = new Uint8Array(this.count);
    this.loads = 0; // how often slices came
    this.failure = null; // the LoadError that ended the loading
  }

  /** Whether a slice is there, or all of them for a plane across the stack. */
  hasSlice(slice, axis) {
    return axis === 0 ? this.isLoaded[slice] === 1 : this.isLoaded.every(Boolean);
  }

  /** The slices [first, stop) to fetch next around `slice`, or null where all are there or under way. */
  nextRange(slice) {
    const nearest = this.nearestMissing(slice);
    if (nearest < 0) return null;
    if (this.starts[this.count] <= WHOLE_FILE_BYTES) return [0, this.count];
    let [first, stop] = [nearest, nearest + 1];
    if (nearest === slice) return [first, stop]; // what is looked at does not wait for its neighbours
    const fits = (from, to) => this.starts[to] - this.starts[from] <= BYTES_AT_ONCE;
    while (stop < this.count && !this.isAsked[stop] && fits(first, stop + 1)) stop += 1;
    while (first > 0 && !this.isAsked[first - 1] && fits(first - 1, stop)) first -= 1;
    return [first, stop];
  }

  nearestMissing(slice) {
    for (let away = 0; away < this.count; away += 1) {
      if (slice + away < this.count && !this.isAsked[slice + away]) return slice + away;
      if (slice - away >= 0 && !this.isAsked[slice - away]) return slice - away;
    }
    return -1;
  }

  async load([first, stop], signal) {
    this.isAsked.fill(1, first, stop);
    const answer = await fetch(this.url, {
      headers: { Range: `bytes=${this.starts[first]}-${this.starts[stop] - 1}` }, signal, credentials: "same-origin",
    }).catch((error) => {
      throw error.name === "AbortError" ? error : new LoadError(0, this.kind);
    });
    if (!answer.ok) throw new LoadError(answer.status, this.kind);
    const body = await answer.arrayBuffer();
    const start = answer.status === 206 ? this.starts[first] : 0; // a proxy that knows no ranges sends the whole file
    for (let slice = first; slice < stop; slice += 1) {
      this.keep(slice, await inflated(body.slice(this.starts[slice] - start, this.starts[slice + 1] - start)));
    }
    this.loads += 1;
  }

  keep(slice, raw) {
    const { voxels } = this;
    if (raw.length !== voxels * this.bytes) throw new LoadError(200, this.kind);
    const target = this.volume.subarray(slice * voxels, (slice + 1) * voxels);
    if (this.bytes === 1) target.set(raw);
    else for (let i = 0; i < voxels; i += 1) target[i] = raw[i] | (raw[voxels + i] << 8);
    this.isLoaded[slice] = 1;
  }
}

async function inflated(compressed) {
  const stream = new Blob([compressed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Fetch every slice of the files: what `centre()` names first, then its neighbours, then the rest.
 *
 * onAnswer is called after each answer. A file that fails is left, and the others go on; only an abort ends all.
 */
export async function loadAll(files, centre, onAnswer, signal) {
  const worker = async () => {
    for (let next = chooseNext(files, centre()); next; next = chooseNext(files, centre())) {
      await next.file.load(next.range, signal).catch((error) => {
        if (signal.aborted) throw error;
        next.file.failure ??= error;
      });
      onAnswer(next.file);
    }
  };
  await Promise.all(Array.from({ length: REQUESTS_AT_ONCE }, worker));
}

function chooseNext(files, slice) {
  let best = null;
  for (const file of files) {
    const range = file.failure ? null : file.nextRange(slice);
    if (!range) continue;
    const away = range[0] > slice ? range[0] - slice : Math.max(0, slice - range[1] + 1);
    if (!best || away < best.away) best = { file, range, away };
  }
  return best;
}
