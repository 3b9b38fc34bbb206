#include "cmd/pipefile.h"

#include <errno.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/files.h"
#include "git/git.h"
#include "pipeline/yaml.h"

void cleanup_pipefile(pipefile *f)
{
    buf_free(&f->text);
    arena_free(&f->mem);
}

static volt_code read_input(buf *ret, volt_err *err)
{
    size_t n;

    do {
        n = fread(buf_room(ret, BUFSIZ), 1, BUFSIZ, stdin);
        ret->n += n;
    } while (n > 0 && ret->n <= YAML_BYTES_MAX);
    if (ferror(stdin))
        return volt_fail(err, VOLT_EIO, "read standard input: %s", strerror(errno));
    return VOLT_OK;
}

bool pipefile_is_dir(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

const char *pipefile_top(pipefile *f, const char *path)
{
    CLEANUP(free)
    char *top = strcmp(path, ".") == 0 ? git_top() : NULL;

    return top ? arena_str(&f->mem, slice_of(top)) : path;
}

volt_code pipefile_open(pipefile *f, const char *path, volt_err *err)
{
    if (strcmp(path, "-") == 0) {
        f->name = "standard input";
        return read_input(&f->text, err);
    }
    if (strcmp(path, ".") == 0)
        f->name = PIPELINE_FILE;
    else
        f->name = pipefile_is_dir(path) ? arena_printf(&f->mem, "%s/" PIPELINE_FILE, path) : path;
    return files_read(f->name, YAML_BYTES_MAX, &f->text, err);
}

bool pipefile_plan(pipefile *f, const plan_settings *settings)
{
    const pipeline *p;

    f->problems.mem = &f->mem;
    p = pipeline_read(buf_slice(&f->text), &f->mem, &f->problems);
    f->plan = p ? plan_make(p, settings, &f->mem, &f->problems) : NULL;
    return f->plan != NULL;
}

void pipefile_say(const pipefile *f, FILE *out)
{
    CLEANUP(buf)
    buf text = { 0 };

    problems_print(&f->problems, f->name, buf_slice(&f->text), &text);
    fwrite(text.p, 1, text.n, out);
}
