/** How the pictures of one plane lie in the volume, whose arrays are (z, y, x).
 *
 * Picture coordinates are u to the right and v down, in voxels; voxel i spans i to i + 1, so its centre is i + 0.5.
 */
export class PlaneGeometry {
  /** plane: an entry of "planes" in viewer.json; size and spacing in mm: (z, y, x). */
  constructor(plane, size, spacing) {
    const strides = [size[1] * size[2], size[2], 1];
    this.axis = plane.axis;
    this.slices = size[plane.axis];
    this.sliceStride = strides[plane.axis];
    this.down = { ...plane.down, count: size[plane.down.axis], stride: strides[plane.down.axis], mm: spacing[plane.down.axis] };
    this.right = { ...plane.right, count: size[plane.right.axis], stride: strides[plane.right.axis], mm: spacing[plane.right.axis] };
  }

  get rows() {
    return this.down.count;
  }

  get columns() {
    return this.right.count;
  }

  get widthMm() {
    return this.columns * this.right.mm;
  }

  get heightMm() {
    return this.rows * this.down.mm;
  }

  /** The voxel [z, y, x] at picture coordinates of a slice, or null outside of the picture. */
  voxelAt(slice, u, v) {
    if (u < 0 || v < 0 || u >= this.columns || v >= this.rows) return null;
    const voxel = [0, 0, 0];
    voxel[this.axis] = slice;
    voxel[this.down.axis] = mirrored(Math.floor(v), this.down);
    voxel[this.right.axis] = mirrored(Math.floor(u), this.right);
    return voxel;
  }

  /** Picture coordinates {u, v} of the centre of a voxel [z, y, x]. */
  placeOf(voxel) {
    return { u: mirrored(voxel[this.right.axis], this.right) + 0.5, v: mirrored(voxel[this.down.axis], this.down) + 0.5 };
  }

  /** Copy one slice of a volume, row by row from its top left corner. */
  copySlice(volume, slice, target) {
    const { rows, columns } = this;
    const rightStep = this.right.flip ? -this.right.stride : this.right.stride;
    for (let v = 0, to = 0; v < rows; v += 1) {
      let from = slice * this.sliceStride + mirrored(v, this.down) * this.down.stride + mirrored(0, this.right) * this.right.stride;
      for (let u = 0; u < columns; u += 1, to += 1, from += rightStep) target[to] = volume[from];
    }
    return target;
  }
}

function mirrored(index, side) {
  return side.flip ? side.count - 1 - index : index;
}
