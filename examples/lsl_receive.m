% Plot the particle in channel group 0 while it moves. Needs liblsl-Matlab on the path.
name = 'run_particles';
lib = lsl_loadlib();
found = {};
while isempty(found)
    found = lsl_resolve_byprop(lib, 'name', name);
end
inlet = lsl_inlet(found{1});
% Channels: FrameNumber, then for each group ObjectId and the fields of lsl.fields (x, y, vx, vy, mass).
path = animatedline('MaximumNumPoints', 500);
last = NaN;
while ishandle(path)
    [samples, stamps] = inlet.pull_chunk();
    for i = 1:size(samples, 2)
        if samples(1, i) > last + 1
            fprintf('frames %d to %d are not in the stream\n', last + 1, samples(1, i) - 1);
        end
        last = samples(1, i);
        addpoints(path, samples(3, i), samples(4, i));   % NaN where there is no particle
    end
    drawnow limitrate
    pause(0.03)
end
