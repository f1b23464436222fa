% tracks = read_tracks("tracking_run_001.h5"): the table of particles as a struct of columns, in Octave.
%
% Octave can open HDF5 files but knows no tables in them. It is told by /index where the rows lie in the file, and
% reads them as bytes. For files of a finished run. (MATLAB does not need this: h5read(path, "/tracks").)
function tracks = read_tracks (path)
  warning ("off", "all", "local");
  file = load (path, "index");            % 2 x n: byte where a block begins, rows in it
  index = double (file.index.tracks);
  columns = {"frame", "int64"; "particle", "int64"; "x", "double"; "y", "double"; ...
             "mass", "single"; "ecc", "single"; "size", "single"; "signal", "single"; "raw_mass", "single"; ...
             "ep", "single"; "vx", "single"; "vy", "single"; "age", "int32"; "saturated", "int32"};
  width = struct ("int64", 8, "double", 8, "single", 4, "int32", 4);
  row_bytes = sum (cellfun (@(kind) width.(kind), columns(:, 2)));
  table = zeros (row_bytes, sum (index(2, :)), "uint8");
  at = 0;
  handle = fopen (path, "r", "ieee-le");
  for block = index
    fseek (handle, block(1), "bof");
    table(:, at + (1:block(2))) = fread (handle, [row_bytes, block(2)], "uint8=>uint8");
    at += block(2);
  endfor
  fclose (handle);
  first = 1;
  for k = 1:size (columns, 1)
    name = columns{k, 1};  kind = columns{k, 2};
    bytes = table(first:first + width.(kind) - 1, :);
    tracks.(name) = typecast (bytes(:), kind);
    first += width.(kind);
  endfor
endfunction
