"""Tags that a picture made of a panorama keeps, so that viewers open it as one and maps know its place."""

from __future__ import annotations

from PIL import ExifTags, Image

from pipeline.panorama.placement import Placement

_KEPT = tuple(
    ExifTags.Base[name]
    for name in ("ImageDescription", "Make", "Model", "DateTime", "Artist", "Copyright", "XResolution", "YResolution")
)
"""Of the main directory; others describe the file's own pixels."""
_MAKER_NOTE = 37500
"""Notes of the camera's maker hold addresses in their own file, and are large."""
_LONGEST = 65_000
"""Bytes that fit into one segment of a JPEG."""


def kept_exif(image: Image.Image) -> bytes:
    """EXIF of a picture for another one of its upright pixels: camera, times and position; empty if there is none."""
    try:
        source, kept = image.getexif(), Image.Exif()
        for tag in _KEPT:
            if tag in source:
                kept[tag] = source[tag]
        for directory in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            values = {tag: value for tag, value in source.get_ifd(directory).items() if tag != _MAKER_NOTE}
            if values:
                kept[directory] = values
        content = kept.tobytes() if len(kept) else b""
    except Exception:  # Pillow raises nearly anything for damaged EXIF, which is not worth the picture
        return b""
    return content if len(content) <= _LONGEST else b""


def kept_xmp(image: Image.Image, placement: Placement, vertical_fov: float) -> bytes:
    """XMP of a picture with its GPano tags; where it has none, tags that say what the placement says."""
    own = image.info.get("xmp", b"")
    own = own.encode() if isinstance(own, str) else bytes(own)
    return own if b"GPano:" in own and len(own) <= _LONGEST else gpano_xmp(placement, vertical_fov)


def gpano_xmp(placement: Placement, vertical_fov: float) -> bytes:
    """GPano tags of a picture that lies at a place of the sphere.

    Args:
        placement: its place on a canvas that goes all the way round.
        vertical_fov: degrees around the horizon that the canvas covers.
    """
    full_height = round(placement.canvas_height * 180 / vertical_fov)
    values = {
        "ProjectionType": "equirectangular", "UsePanoramaViewer": "True",
        "FullPanoWidthPixels": placement.canvas_width, "FullPanoHeightPixels": full_height,
        "CroppedAreaImageWidthPixels": placement.width, "CroppedAreaImageHeightPixels": placement.height,
        "CroppedAreaLeftPixels": placement.left,
        "CroppedAreaTopPixels": (full_height - placement.canvas_height) // 2 + placement.top,
    }  # fmt: skip
    tags = " ".join(f'GPano:{key}="{value}"' for key, value in values.items())
    return (
        '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        f'xmlns:GPano="http://ns.google.com/photos/1.0/panorama/" {tags}/></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
    ).encode()
