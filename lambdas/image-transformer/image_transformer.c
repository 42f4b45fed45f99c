/*
 * The image transformer of λ-NIC: RGBA to grey, in place over its message, of any size that a message can have. Numbers are
 * little-endian, as in most image files and in WebAssembly's memory.
 *
 *     request: width 32, height 32, then width × height pixels of 4 bytes: red, green, blue, alpha
 *     reply:   the same width and height, then width × height bytes of grey, equal to Pillow's convert("L")
 *
 * A message that is not as long as its width and height say is answered INVALID_ARGUMENT; so is an image without pixels.
 */
#include <lnic.h>
#include <lnic_simd.h>

typedef struct {
    uint32_t width;
    uint32_t height;
} IMAGE_HEADER_T;

#define PIXEL_BYTES 4

/* Pixels of the image in this message; 0 if it is none. */
static uint32_t image_pixels(const MATCH_DATA_T *match_data) {
    IMAGE_HEADER_T image;
    if (match_data->length < sizeof(image)) {
        return 0;
    }
    memcpy(&image, lnic_payload(match_data), sizeof(image));
    uint32_t bytes = match_data->length - sizeof(image);
    /* Two factors of 32 bits cannot overflow 64; four times their product could. */
    uint64_t pixels = (uint64_t)image.width * image.height;
    return bytes % PIXEL_BYTES == 0 && pixels == bytes / PIXEL_BYTES ? (uint32_t)pixels : 0;
}

LAMBDA(image_transformer) {
    uint32_t pixels = image_pixels(match_data);
    if (pixels == 0) {
        return lnic_reply_text(headers, match_data, STATUS_INVALID_ARGUMENT,
                                 "send width and height, 4 bytes each, little-endian, and 4 bytes a pixel: RGBA\n");
    }
    uint8_t *image = lnic_payload(match_data) + sizeof(IMAGE_HEADER_T);
    lnic_simd_rgba_to_grey(image, image, pixels);
    return lnic_reply(headers, match_data, STATUS_OK, sizeof(IMAGE_HEADER_T) + pixels);
}
