#include "pipeline/detect.h"

#define MODE_FILE       0100644u
#define MODE_FILE_GROUP 0100664u /* in trees that very old versions of git wrote */
#define MODE_EXECUTABLE 0100755u
#define MODE_SYMLINK    0120000u

static slice basename_of(slice path)
{
    for (size_t i = path.n; i > 0; i--)
        if (path.p[i - 1] == '/')
            return (slice){ path.p + i, path.n - i };
    return path;
}

/* As Python's `\w`; bytes of other scripts' letters count as such. */
static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           (unsigned char)c >= 0x80;
}

/* test*.py, and a name that `import` takes: discover passes over "test-data.py". */
static bool is_python(slice path)
{
    slice name = basename_of(path);

    if (!slice_starts(name, SLICE("test")) || !slice_ends(name, SLICE(".py")))
        return false;
    for (size_t i = 0; i < name.n - 3; i++)
        if (!is_word(name.p[i]))
            return false;
    return true;
}

detect_kind detect_file(slice path, uint32_t mode)
{
    if (!slice_starts(path, SLICE(DETECT_DIR "/")))
        return DETECT_NONE;
    if (is_python(path) && (mode == MODE_FILE || mode == MODE_FILE_GROUP ||
                            mode == MODE_EXECUTABLE || mode == MODE_SYMLINK))
        return DETECT_PYTHON;
    return mode == MODE_EXECUTABLE ? DETECT_EXECUTABLE : DETECT_NONE;
}

detect_kind detect_unit(slice path)
{
    return is_python(path) ? DETECT_PYTHON : DETECT_EXECUTABLE;
}
